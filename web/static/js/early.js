// Runs before anything is drawn: the chosen theme, and a plain word if the page can't start.
// Must stay free of modules: it is what still works when they do not.
const chosen = localStorage.getItem("theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;

addEventListener(
  "error",
  (event) => {
    const text = document.getElementById("splash-text");
    if (text && event.target && event.target.tagName === "SCRIPT") {
      text.textContent =
        "The page's libraries are missing. Run “python -m web.vendor” on this peer and reload.";
    }
  },
  true,
);
