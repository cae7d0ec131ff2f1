// Apart from the page, for its Content-Security-Policy allows no script within it.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#description",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
});
