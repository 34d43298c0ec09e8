// The alarms of this peer: which are of one kind, and what to do about a kind.
// docs/operations.md has the whole table.

// Alarms that differ only in numbers and digests are shown once, in their last form.
export function alarmKinds(alarms) {
  const kinds = new Map();
  for (const text of alarms) {
    const kind = text.replace(/[0-9a-f]{16,}|\d+/g, "#");
    kinds.set(kind, { text, count: (kinds.get(kind)?.count ?? 0) + 1 });
  }
  return [...kinds.values()].reverse();
}

const ADVICE = [
  [/has another state/, "Trade nowhere. Stop the peers, keep both data folders, and compare them: python -m peer journal DATA compare OTHER"],
  [/forged chain/, "This peer does not believe that chain of epochs, and asks others. Find out who runs that program."],
  [/another seal/, "Compare epoch and seal with that member's operator: python -m peer members DATA prints them."],
  [/^epoch \d+: expected signatures/, "Ask a member's operator for epoch and seal, compare them by another way, and start with --trust EPOCH:SEAL."],
  [/clock/, "Set the clock of that machine by NTP."],
  [/signed both/, "Its key was used twice: python -m peer journal DATA evidence shows the two blocks."],
  [/forged/, "No peer has applied the command. Ask that member's operator which program runs there."],
  [/is cut off/, "This peer ignores the member until its own restart. Ask that member's operator for its log."],
  [/floods/, "This peer ignores the member for 10 s. Ask that member's operator for its log."],
  [/is deaf|does not hear/, "Check the firewalls between the two machines."],
  [/answers no request/, "Its fetch port can't be reached, or it is stuck: check --fetch-port and its log."],
  [/wait for over/, "No quorum, or far too many orders at once."],
  [/no progress/, "No member helps: check which are alive, and the firewalls between you."],
  [/does not belong|unusable state/, "That member's disk or program is broken, or it lies. This peer asks the others."],
  [/^halted/, "This peer's log says why, and what to do."],
];

// What to do about an alarm, in one line.
export const adviceOn = (text) => ADVICE.find(([kind]) => kind.test(text))?.[1] ?? "See the table of alarms in docs/operations.md.";
