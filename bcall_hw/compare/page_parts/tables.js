// Tables: cells of any plain value, and sorting by a click on a header.

function cell(value) {
  if (value === null || value === undefined) return element("td", { class: "none", title: "there is no value" }, DASH);
  if (typeof value === "number") return element("td", { class: "number", title: String(value) }, numberText(value));
  if (value === "infinity" || value === "-infinity") return element("td", { class: "number" }, numberText(value));
  if (typeof value === "boolean") return element("td", {}, value ? "yes" : "no");
  if (typeof value === "object") return element("td", {}, nested(value));
  return element("td", { class: "name" }, value);
}

// A value inside a value: `key: value` line by line.
function nested(value) {
  if (value === null) return DASH;
  if (typeof value !== "object") return typeof value === "number" ? numberText(value) : String(value);
  if (Array.isArray(value)) return value.map((item) => nestedText(item)).join(", ") || "none";
  const list = element("div", {});
  for (const [key, item] of Object.entries(value)) list.append(element("div", {}, `${key}: ${nestedText(item)}`));
  return list.childNodes.length ? list : "none";
}

function nestedText(value) {
  const made = nested(value);
  return typeof made === "string" ? made : [...made.childNodes].map((line) => line.textContent).join("; ");
}

function scrolling(table, label) {
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
}

// columns: {title, help, key(row) -> what is sorted by, cell(row) -> td, number}; `rows` are the table's own values.
function sortedTable(columns, rows, id) {
  const body = element("tbody", {});
  const made = rows.map((row) => ({ row, line: element("tr", {}, ...columns.map((column) => column.cell(row))) }));
  const headers = columns.map((column, number) => {
    const attributes = { class: column.number ? "number" : null, title: column.help, scope: "col" };
    if (!column.key) return element("th", attributes, column.title);
    return element("th", attributes, element("button", { type: "button", click: () => sort(number) }, column.title));
  });

  function sort(number) {
    const down = headers[number].getAttribute("aria-sort") === "ascending";
    headers.forEach((header) => header.removeAttribute("aria-sort"));
    headers[number].setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = columns[number].key;
    made.sort((one, two) => compared(key(one.row), key(two.row), down));
    body.append(...made.map(({ line }) => line));
  }

  body.append(...made.map(({ line }) => line));
  const table = element("table", { id }, element("thead", {}, element("tr", {}, ...headers)), body);
  const filter = (wanted) => {
    for (const { row, line } of made) line.hidden = !wanted(row);
    return made.filter(({ line }) => !line.hidden).length;
  };
  return { table, filter };
}

// What has no value comes last, whichever way is up.
function compared(one, two, down) {
  const missing = (value) => value === null || value === undefined;
  if (missing(one) || missing(two)) return missing(one) - missing(two);
  const order = typeof one === "string" ? one.localeCompare(String(two)) : one - two;
  return down ? -order : order;
}

function aligned(made, isNumber) {
  if (isNumber) made.classList.add("number");
  return made;
}

function rowsTable(rows, id, label) {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const isNumber = (key) => rows.some((row) => known(row[key]));
  const columns = keys.map((key) => ({
    title: nameWithUnit(key), number: isNumber(key), cell: (row) => aligned(cell(row[key]), isNumber(key)),
    key: (row) => (typeof row[key] === "object" && row[key] !== null ? nestedText(row[key]) : row[key]),
  }));
  return scrolling(sortedTable(columns, rows, id).table, label);
}
