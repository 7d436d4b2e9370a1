// Tables whose rows are sorted by a click on a column's title, and filtered by words.
for (const table of document.querySelectorAll("table.sortable")) {
  const bodies = () => [...table.tBodies];
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.key ?? cell.textContent.trim();
    return text.replace(/ ± [\d.]+$/, "");  // by the mean
  };
  const compare = (column, falling) => (a, b) => {
    const [x, y] = [value(a, column), value(b, column)];
    if ((x === "") !== (y === "")) return x === "" ? 1 : -1;  // empty cells last
    const isNumber = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
    const order = isNumber ? x - y : x.localeCompare(y, undefined, { numeric: true });
    return falling ? -order : order;
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const order = compare(column, falling);
      for (const body of bodies()) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("head"));
        body.append(...rows.sort(order));
      }
      table.append(...bodies().sort((a, b) => order(a.rows[0], b.rows[0])));
    });
  });
  for (const button of table.querySelectorAll("tr.head button")) {
    const toggle = () => {
      const closed = button.closest("tbody").classList.toggle("closed");
      button.setAttribute("aria-expanded", String(!closed));
    };
    button.addEventListener("click", toggle);
    toggle();  // open without scripts
  }
}
const filter = document.getElementById("filter");
if (filter) filter.closest(".choice").hidden = false;
filter?.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0, total = 0;
  for (const body of document.querySelectorAll("table.sortable tbody")) {
    let some = false;
    for (const row of body.rows) {
      if (row.classList.contains("head")) continue;
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      total += 1;
      shown += !row.hidden;
      some ||= !row.hidden;
    }
    body.hidden = !some;
    body.closest("table").classList.toggle("filtered", words.length > 0);  // opens its groups
  }
  document.getElementById("count").textContent = words.length ? `${shown} of ${total}` : "";
});
