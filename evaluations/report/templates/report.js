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

  const compare = (a, b) => {
    if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return a.number - b.number;
    if (Number.isNaN(a.number) !== Number.isNaN(b.number)) return Number.isNaN(a.number) ? 1 : -1;
    return a.text.localeCompare(b.text, undefined, { numeric: true });
  };

  const sort = (button) => {
    const header = button.closest("th");
    const column = header.cellIndex;
    const body = header.closest("table").tBodies[0];
    const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((a, b) => sign * compare(key(a, column), key(b, column)));
    body.append(...rows);
  };

  for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sort(button));
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);
  draw();
})();
