// The page at /docs: shows /openapi.json. Needs no library.

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const nameOf = (reference) => reference.split("/").pop();

const link = (name) => element("a", { href: `#schema-${name}` }, name);

// The values that a schema allows, in a few words, as nodes.
function words(schema) {
  if (schema.$ref) return [link(nameOf(schema.$ref))];
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.flatMap((choice, index) => (index ? [" or ", ...words(choice)] : words(choice)));
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" · ")];
  if (schema.prefixItems) return ["[", ...schema.prefixItems.flatMap((item, index) => (index ? [", ", ...words(item)] : words(item))), "]"];
  if (schema.type === "array") return ["list of ", ...words(schema.items ?? {})];
  return [[schema.type ?? "anything"].flat().join(" or ")];
}

function limits(schema) {
  const found = [];
  if (schema.default !== undefined && schema.default !== null && schema.default !== "") found.push(`default ${JSON.stringify(schema.default)}`);
  if (schema.minimum !== undefined) found.push(`from ${schema.minimum}`);
  if (schema.maximum !== undefined) found.push(`to ${schema.maximum}`);
  if (schema.maxLength) found.push(`up to ${schema.maxLength} characters`);
  if (schema.maxItems) found.push(`up to ${schema.maxItems}`);
  if (schema.description) found.push(schema.description);
  return found.join(" · ");
}

const row = (name, schema, required) =>
  element("tr", {}, element("th", { scope: "row" }, element("code", {}, name), required ? " *" : ""), element("td", {}, ...words(schema)), element("td", {}, limits(schema)));

const table = (caption, rows) => [element("h3", {}, caption), element("table", {}, element("tbody", {}, ...rows))];

function operation(path, method, { summary, operationId, parameters, requestBody, responses }) {
  const parts = [element("h2", { id: operationId }, element("span", { class: "method" }, method.toUpperCase()), " ", element("code", {}, path)), element("p", {}, `${summary}.`)];
  if (parameters.length) {
    parts.push(...table("Parameters", parameters.map(({ name, schema, required }) => row(name, schema, required))));
  }
  if (requestBody) {
    const [media] = Object.values(requestBody.content);
    parts.push(element("h3", {}, "Body"), element("p", {}, ...words(media.schema)));
    if (media.example) parts.push(element("pre", {}, JSON.stringify(media.example, null, 1)));
  }
  const answers = Object.entries(responses).map(([status, { description, content }]) => {
    const [media] = Object.values(content);
    return element("tr", {}, element("th", { scope: "row" }, status), element("td", {}, ...words(media.schema)), element("td", {}, description));
  });
  parts.push(...table("Answers", answers));
  return element("section", {}, ...parts);
}

function schemaOf(name, { description = "", properties = {}, required = [] }) {
  const rows = Object.entries(properties).map(([field, schema]) => row(field, schema, required.includes(field)));
  return element("section", {}, element("h2", { id: `schema-${name}` }, name), element("p", {}, description), ...table("Fields", rows));
}

function draw({ paths, components }) {
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, description]) => ({ path, method, description })),
  );
  const entries = operations.map(({ description, path, method }) =>
    element("li", {}, element("a", { href: `#${description.operationId}` }, element("code", {}, `${method.toUpperCase()} ${path}`))),
  );
  document.getElementById("operations").replaceChildren(element("ul", {}, ...entries));
  document
    .getElementById("document")
    .replaceChildren(
      ...operations.map(({ path, method, description }) => operation(path, method, description)),
      ...Object.entries(components.schemas).map(([name, schema]) => schemaOf(name, schema)),
    );
}

const response = await fetch("/openapi.json");
draw(await response.json());
if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
