// Runs before the page is drawn: sets the chosen theme, and shows an error if the page can't start.
// Must not use modules: it has to work when they do not.
const chosen = localStorage.getItem("theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;

addEventListener(
  "error",
  (event) => {
    const text = document.getElementById("splash-text");
    if (text && event.target && event.target.tagName === "SCRIPT") {
      text.textContent =
        "The page's libraries are missing. Run “python -m web.bundle” on this peer and reload.";
    }
  },
  true,
);
