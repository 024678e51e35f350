// Begins Scalar on this service's own document, without anything that it would fetch from elsewhere.
Scalar.createApiReference("#reference", {
  url: new URL("../openapi.json", document.currentScript.src).href,
  withDefaultFonts: false,
  telemetry: false,
  proxyUrl: "",
  hideClientButton: true,
  showDeveloperTools: "never",
  agent: { disabled: true },
  mcp: { disabled: true },
});
