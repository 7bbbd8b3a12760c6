showAlerts();
showSides();
showNext();
addTab("quantities", "Quantities", quantitiesPanel);
addTab("rasters", "Rasters", rasterPanel);
addTab("scatter", "Scatter", scatterPanel);
addTab("distances", "Distances", matrixPanel);
addTab("board", "Board", boardPanel);
if (COMPARISON.learned.length) {
  addTab("learned", "Learned", (panel) => { panel.append(rowsTable(COMPARISON.learned, "learned-table", "Weights after learning")); });
}
if (COMPARISON.recovered.length) {
  addTab("recovered", "Recovered", (panel) => { panel.append(rowsTable(COMPARISON.recovered, "recovered-table", "Parameters measured on each side")); });
}
addTab("settings", "Settings", settingsPanel);
startTabs();
addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
// After the first frame is on the screen: what the page takes to open.
requestAnimationFrame(() => setTimeout(() => {
  performance.mark("ready");
  window.__ready = performance.now();
}));
