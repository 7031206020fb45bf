// What a test asks of the report's page; evaluated in it, never part of it.
(function () {
  "use strict";
  var number = function (text) { return parseFloat(text); };

  // [red, green, blue, alpha], each from 0 to 1.
  function colour(text) {
    var parts = (text.match(/[\d.]+(e-?\d+)?%?/g) || []).map(number);
    if (/^color\(srgb/.test(text)) return [parts[0], parts[1], parts[2], parts.length > 3 ? parts[3] : 1];
    if (/^rgb/.test(text)) return [parts[0] / 255, parts[1] / 255, parts[2] / 255, parts.length > 3 ? parts[3] : 1];
    throw new Error("unknown colour " + text);
  }
  function over(top, below) {
    return [0, 1, 2].map(function (i) { return top[i] * top[3] + below[i] * (1 - top[3]); }).concat(1);
  }
  function behind(element) {
    var layers = [];
    for (; element; element = element.parentElement) layers.push(colour(getComputedStyle(element).backgroundColor));
    return layers.reverse().reduce(function (below, top) { return over(top, below); }, [1, 1, 1, 1]);
  }
  // https://www.w3.org/TR/WCAG22/#dfn-relative-luminance
  function luminance(c) {
    var linear = c.slice(0, 3).map(function (v) { return v <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  }
  function ratio(one, other) {
    var l = [luminance(one), luminance(other)].sort().reverse();
    return (l[0] + 0.05) / (l[1] + 0.05);
  }
  function name(element) {
    var id = element.id ? "#" + element.id : "";
    return element.tagName.toLowerCase() + id + " " + (element.textContent || element.value || "").trim().slice(0, 40);
  }
  function shown(element) {
    return element.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true });
  }

  window.assay = {
    // Texts that are hard to read on what is behind them.
    pale: function () {
      var found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        var element = walker.currentNode.parentElement;
        // Cells that repeat what stands above are for screen readers alone.
        if (!walker.currentNode.textContent.trim() || !shown(element) || element.closest(".again, script, style, title")) continue;
        var style = getComputedStyle(element), size = number(style.fontSize), bold = number(style.fontWeight) >= 700;
        var ink = colour(element.closest("svg") ? style.fill : style.color), paper = behind(element);
        var wanted = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5, has = ratio(over(ink, paper), paper);
        if (has < wanted) found.push(name(element) + ": " + has.toFixed(2));
      }
      return found;
    },
    // What the keyboard must reach, in order.
    reachable: function () {
      var all = document.querySelectorAll("a[href], button, select, input, summary, [tabindex='0']");
      return Array.prototype.filter.call(all, function (one) { return shown(one) && !one.disabled; }).map(name);
    },
    // Where the keyboard is, and whether that can be seen.
    focused: function () {
      var element = document.activeElement, style = getComputedStyle(element);
      var seen = style.outlineStyle !== "none" && number(style.outlineWidth) >= 2;
      return element === document.body ? null : { name: name(element), seen: seen };
    },
    // What is wider than the page.
    wide: function () {
      var edge = document.documentElement.clientWidth + 0.5, found = [];
      if (document.documentElement.scrollWidth > document.documentElement.clientWidth) found.push("the page scrolls sideways");
      document.querySelectorAll("main *").forEach(function (element) {
        var scrolls = element.closest(".scroll") && getComputedStyle(element.closest(".scroll")).overflowX === "auto";
        if (shown(element) && !scrolls && element.getBoundingClientRect().right > edge) found.push(name(element));
      });
      return found;
    },
    closed: function () {
      var folded = document.querySelectorAll("details:not([open])");
      return Array.prototype.filter.call(folded, function (one) { return !shown(one.querySelector("table")); }).map(name);
    },
    place: function () {
      var current = document.querySelectorAll(".pair.current");
      return [document.getElementById("place").textContent, current.length, current.length ? current[0].id : "", location.hash];
    },
  };
})();
