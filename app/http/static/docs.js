/* Swagger UI, from the package fastapi-swagger, over this service's own description, and nothing from elsewhere. */

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // a server of theirs
});
