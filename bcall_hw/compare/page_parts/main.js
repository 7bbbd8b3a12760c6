function addRowsTab(id, title, label) {
  const rows = COMPARISON[id];
  if (rows.length) addTab(id, title, (panel) => { panel.append(rowsTable(rows, `${id}-table`, label)); });
}

showAlerts();
showSides();
showNext();
addTab("quantities", "Quantities", quantitiesPanel);
addTab("rasters", "Rasters", rasterPanel);
addTab("scatter", "Scatter", scatterPanel);
addTab("distances", "Distances", matrixPanel);
addTab("board", "Board", boardPanel);
addRowsTab("learned", "Learned", "Weights after learning");
addRowsTab("recovered", "Recovered", "Parameters measured on each side");
addTab("settings", "Settings", settingsPanel);
startTabs();
addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
// After the first frame is on the screen: what the page takes to open.
requestAnimationFrame(() => setTimeout(() => {
  performance.mark("ready");
  window.__ready = performance.now();
}));
