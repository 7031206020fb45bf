// Turns the list of pairs into a viewer with one pair at a time. Content is never built here, only shown and hidden.
(function () {
  "use strict";
  var all = Array.prototype.slice.call(document.querySelectorAll("article.pair"));
  if (!all.length) return;
  var byId = function (id) { return document.getElementById(id); };
  var filters = ["by-comparison", "by-domain", "by-verdict", "by-text"].map(byId);
  var texts = null;
  var shown = all;
  var current = 0;

  function show(index, focus) {
    all.forEach(function (pair) { pair.classList.remove("current"); });
    current = Math.max(0, Math.min(index, shown.length - 1));
    byId("place").textContent = shown.length
      ? (current + 1) + " of " + shown.length + (shown.length < all.length ? " (" + all.length + " in all)" : "")
      : "no pair matches";
    if (!shown.length) return;
    shown[current].classList.add("current");
    if (focus) history.replaceState(null, "", "#" + shown[current].id);
  }

  function filter() {
    var comparison = filters[0].value, domain = filters[1].value, verdict = filters[2].value;
    var words = filters[3].value.toLowerCase();
    if (words && !texts) texts = all.map(function (pair) { return pair.textContent.toLowerCase(); });
    shown = all.filter(function (pair, index) {
      return (!comparison || pair.dataset.comparison === comparison)
        && (!domain || pair.dataset.domain === domain)
        && (!verdict || pair.dataset.verdicts.split(" ").indexOf(verdict) >= 0)
        && (!words || texts[index].indexOf(words) >= 0);
    });
    show(0, false);
  }

  function fromAddress() {
    var index = shown.findIndex(function (pair) { return "#" + pair.id === location.hash; });
    if (index >= 0) show(index, false);
    return index >= 0;
  }

  document.documentElement.classList.add("js");
  document.querySelector(".controls").hidden = false;
  byId("previous").addEventListener("click", function () { show(current - 1, true); });
  byId("next").addEventListener("click", function () { show(current + 1, true); });
  byId("print-all").addEventListener("change", function (event) {
    document.documentElement.classList.toggle("print-all", event.target.checked);
  });
  filters.forEach(function (input) { input.addEventListener("input", filter); });
  window.addEventListener("hashchange", fromAddress);
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    var to = { ArrowLeft: current - 1, k: current - 1, ArrowRight: current + 1, j: current + 1 }[event.key];
    var inViewer = byId("pairs").contains(document.activeElement);
    if (inViewer && event.key === "Home") to = 0;
    if (inViewer && event.key === "End") to = shown.length - 1;
    if (to === undefined) return;
    // A table that is wider than the page scrolls with the arrows.
    if (event.key.indexOf("Arrow") === 0 && event.target.closest && event.target.closest(".scroll")) return;
    event.preventDefault();
    show(to, true);
  });
  if (!fromAddress()) show(0, false);
})();
