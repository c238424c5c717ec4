// Zoom and pan of diagrams: buttons, keyboard (+, -, 0, arrows), Ctrl and the wheel, dragging. Without it they scroll.
(function () {
  "use strict";

  const LEAST = 0.2, MOST = 4, STEP = 1.25;

  function setUp(region) {
    const svg = region.querySelector("svg"), natural = svg.viewBox.baseVal.width || svg.clientWidth;
    const tools = document.createElement("div");
    let scale = 1;

    function zoom(wanted, x = region.clientWidth / 2, y = region.clientHeight / 2) {
      const before = scale;
      scale = Math.min(MOST, Math.max(LEAST, wanted));
      const left = (region.scrollLeft + x) * scale / before - x, top = (region.scrollTop + y) * scale / before - y;
      svg.style.width = natural * scale + "px";
      svg.style.height = "auto";
      region.scrollTo(left, top);
      shown.textContent = Math.round(scale * 100) + " %";
    }

    function button(text, label, act) {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = text;
      made.setAttribute("aria-label", label);
      made.addEventListener("click", act);
      tools.append(made);
    }

    const larger = () => zoom(scale * STEP), smaller = () => zoom(scale / STEP), whole = () => zoom(1);
    const fit = () => zoom(Math.min(1, (region.clientWidth - 28) / natural));
    const shown = document.createElement("output");
    tools.className = "zoom";
    tools.setAttribute("role", "group");
    tools.setAttribute("aria-label", "Zoom");
    button("−", "Smaller", smaller);
    tools.append(shown);
    button("+", "Larger", larger);
    button("1:1", "Actual size", whole);
    button("Fit", "Fit the width", fit);
    region.before(tools);

    region.addEventListener("keydown", function (event) {
      const act = { "+": larger, "=": larger, "-": smaller, "0": whole }[event.key];
      if (act && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        act();
      }
    });
    region.addEventListener("wheel", function (event) {
      if (event.ctrlKey) {
        const box = region.getBoundingClientRect();
        event.preventDefault();
        zoom(scale * (event.deltaY < 0 ? STEP : 1 / STEP), event.clientX - box.left, event.clientY - box.top);
      }
    }, { passive: false });
    region.addEventListener("pointerdown", function (event) {
      if (event.pointerType !== "mouse" || event.button !== 0) {
        return;  // a finger scrolls by itself
      }
      const from = { x: event.clientX + region.scrollLeft, y: event.clientY + region.scrollTop };
      const drag = (move) => region.scrollTo(from.x - move.clientX, from.y - move.clientY);
      region.classList.add("dragged");
      window.addEventListener("pointermove", drag);
      window.addEventListener("pointerup", function () {
        window.removeEventListener("pointermove", drag);
        region.classList.remove("dragged");
      }, { once: true });
      event.preventDefault();
      region.focus({ preventScroll: true });
    });
    zoom((region.clientWidth - 28) / natural >= 0.7 ? Math.min(1, (region.clientWidth - 28) / natural) : 1);
  }

  document.querySelectorAll(".diagram").forEach(setUp);
}());
