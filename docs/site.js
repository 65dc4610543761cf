// What the theme lacks for screen readers and keyboards: names and the focus of what scrolls.
function mend() {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  for (const nav of document.querySelectorAll(".md-code__nav")) nav.role = "presentation";
  for (const code of document.querySelectorAll("pre > code, .md-typeset__scrollwrap"))
    code.tabIndex = code.scrollWidth > code.clientWidth ? 0 : -1;
}
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
addEventListener("resize", mend);
mend();
