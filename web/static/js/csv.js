// Tables as CSV files (RFC 4180). Owns the quoting. Pure, except for `download`.

// A text that a spreadsheet would run as a formula is kept from it by a quote sign.
function cell(value) {
  const text = String(value);
  const safe = /^[=+@\t\r]|^-(?![\d.])/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export const csvOf = (heads, rows) => [heads, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");

export function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
