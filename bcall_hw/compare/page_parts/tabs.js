// Tabs: arrow keys move, the address names the tab, and a panel is made when it is first shown.

const TABS = [];
let onPaper = false;

function addTab(id, title, fill) {
  const panel = element("div", {
    role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}`, "data-title": title, hidden: true,
  });
  const tab = element("button", {
    role: "tab", type: "button", id: `tab-${id}`, "aria-controls": panel.id, "aria-selected": "false", tabindex: "-1",
    click: () => choose(id), keydown: (event) => tabKey(event, id),
  }, title);
  TABS.push({ id, tab, panel, fill, redraw: null });
  document.getElementById("tabs").append(tab);
  document.getElementById("panels").append(panel);
}

function tabKey(event, id) {
  const here = TABS.findIndex((entry) => entry.id === id), last = TABS.length - 1;
  const to = { ArrowRight: here === last ? 0 : here + 1, ArrowLeft: here === 0 ? last : here - 1, Home: 0, End: last }[event.key];
  if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  choose(TABS[to].id);
  TABS[to].tab.focus();
}

function choose(id, told = true) {
  const chosen = TABS.find((entry) => entry.id === id) || TABS[0];
  for (const { tab, panel } of TABS) {
    const on = tab === chosen.tab;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    panel.hidden = !on;
  }
  hideTip();
  show(chosen);
  // The address is replaced and not followed: following it would scroll.
  if (told && location.hash !== `#${chosen.id}`) history.replaceState(null, "", `#${chosen.id}`);
}

function show(entry) {
  if (entry.fill) {
    const fill = entry.fill;
    entry.fill = null;
    entry.redraw = fill(entry.panel) || null;
  }
  if (entry.redraw) entry.redraw();
}

// A link to a tab opens it, and brings it into view.
function followAddress() {
  const id = location.hash.slice(1);
  choose(id, false);
  if (TABS.some((entry) => entry.id === id)) document.getElementById("tabs").scrollIntoView();
}

function startTabs() {
  followAddress();
  addEventListener("hashchange", followAddress);
  let waiting = false;
  addEventListener("resize", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      TABS.filter(({ panel }) => !panel.hidden).forEach(show);
    });
  });
  // Paper has all panels, so that each has to be drawn.
  addEventListener("beforeprint", () => {
    onPaper = true;
    TABS.forEach(show);
  });
  addEventListener("afterprint", () => {
    onPaper = false;
    TABS.filter(({ panel }) => !panel.hidden).forEach(show);
  });
}
