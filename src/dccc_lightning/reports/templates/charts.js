// Values of charts: the nearest mark to the pointer, a touch, or by the arrow keys, in a tip.
for (const chart of document.querySelectorAll(".chart svg")) {
  const marks = [...chart.querySelectorAll(".tip")];
  if (!marks.length) continue;
  const texts = marks.map((mark) => {
    const title = mark.querySelector("title"), text = title.textContent;
    title.remove();  // the browser's own tip would be a second one
    return text;
  });
  const tip = document.createElement("div");
  tip.className = "value";
  tip.setAttribute("aria-live", "polite");
  const box = chart.closest(".card");
  box.append(tip);
  chart.tabIndex = 0;
  let shown = -1;

  const middle = (mark) => {
    const { left, top, width, height } = mark.getBoundingClientRect();
    return [left + width / 2, top + height / 2];
  };
  function show(place) {
    if (place === shown) return;
    marks[shown]?.classList.remove("on");
    marks[shown]?.closest(".series")?.classList.remove("on");
    shown = place;
    tip.hidden = place < 0;
    chart.setAttribute("aria-description", place < 0 ? "" : texts[place]);
    if (place < 0) return;
    const mark = marks[place];
    mark.classList.add("on");
    mark.closest(".series")?.classList.add("on");
    tip.textContent = texts[place];
    const own = box.getBoundingClientRect(), [x, y] = middle(mark);
    const left = x - own.left - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(4, Math.min(left, own.width - tip.offsetWidth - 4))}px`;
    const high = y - own.top - tip.offsetHeight - mark.getBoundingClientRect().height / 2 - 6;
    tip.style.top = `${Math.max(4, high)}px`;
  }
  function at(event) {
    const under = event.target.closest?.(".tip");
    if (under) return show(marks.indexOf(under));
    let best = -1, nearest = 30 ** 2;
    marks.forEach((mark, place) => {
      const [x, y] = middle(mark);
      const distance = (x - event.clientX) ** 2 + (y - event.clientY) ** 2;
      if (distance <= nearest) [best, nearest] = [place, distance];  // the one on top
    });
    show(best);
  }
  chart.addEventListener("pointermove", at);
  chart.addEventListener("pointerdown", at);
  chart.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(-1));
  chart.addEventListener("blur", () => show(-1));
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") show(-1);
    if (!step) return;
    event.preventDefault();
    show(Math.max(0, Math.min(marks.length - 1, shown + step)));
  });
  show(-1);
  tip.hidden = true;
}
