"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("chart-data").textContent);
  const canHover = matchMedia("(hover: hover)").matches;

  // Colours are names of the style sheet's custom properties, so that charts follow the page's light and dark.
  const resolved = (value, styles) => {
    if (typeof value === "string") {
      const name = /^var\((--[\w-]+)\)$/.exec(value);
      return name ? styles.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => resolved(item, styles));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolved(item, styles)]));
    }
    return value;
  };

  const draw = () => {
    const styles = getComputedStyle(document.documentElement);
    for (const [name, figure] of Object.entries(charts)) {
      const { data, layout } = resolved(figure, styles);
      layout.font.family = getComputedStyle(document.body).fontFamily;
      layout.dragmode = canHover ? "zoom" : false;
      Plotly.react(`chart-${name}`, data, layout, { displayModeBar: false, responsive: true, plotlyServerURL: "" });
    }
  };

  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = text === "" ? NaN : Number(text);
    return { text, number };
  };

  // Absent values come last, in either direction.
  const compare = (a, b, sign) => {
    if ((a.text === "") !== (b.text === "")) return a.text === "" ? 1 : -1;
    if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return a.number === b.number ? 0 : sign * (a.number - b.number);
    if (Number.isNaN(a.number) !== Number.isNaN(b.number)) return sign * (Number.isNaN(a.number) ? 1 : -1);
    return sign * a.text.localeCompare(b.text, undefined, { numeric: true });
  };

  const sort = (button) => {
    const header = button.closest("th");
    const column = header.cellIndex;
    const body = header.closest("table").tBodies[0];
    const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((a, b) => compare(key(a, column), key(b, column), sign));
    body.append(...rows);
  };

  const filter = (input) => {
    const rows = [...document.getElementById(input.dataset.filters).tBodies[0].rows];
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    input.closest(".filter").querySelector("output").textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  };

  for (const input of document.querySelectorAll("input[data-filters]")) {
    input.closest(".filter").hidden = false;
    input.addEventListener("input", () => filter(input));
  }
  for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sort(button));
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);
  draw();
})();
