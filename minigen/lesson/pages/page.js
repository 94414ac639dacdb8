// Light or dark, remembered; what scrolls sideways can be reached by keyboard; arrow keys go from
// lesson to lesson. The page reads well without this.
"use strict";
const root = document.documentElement;
try { root.dataset.theme = localStorage.getItem("theme") ?? ""; } catch { /* a page from a file */ }

function scrollable() {
  for (const box of document.querySelectorAll("pre, .svg, math[display=block]")) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

document.addEventListener("DOMContentLoaded", () => {
  document.getElementById("theme")?.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a page from a file */ }
  });
  scrollable();
  addEventListener("resize", scrollable);
  document.addEventListener("toggle", scrollable, true); // what is folded has no width
});
// Only where nothing has the focus: in code that scrolls, an arrow key scrolls.
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target !== document.body) return;
  const link = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  if (link) document.querySelector(`a[rel=${link}]`)?.click();
});
