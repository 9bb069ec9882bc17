"use strict";

// The live page is there unless telemetry is disabled. This page is below any prefix, with or without a slash at its end.
const live = location.pathname.replace(/\/doc\/?$/, "/dashboard");
document.querySelector("#live a").href = live;
fetch(live, { method: "HEAD" }).then((response) => { document.getElementById("live").hidden = !response.ok; });

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null, // the default is a public server
});
