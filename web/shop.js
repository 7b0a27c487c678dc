// The shop's page. Whatever comes from the server goes in as text (append, textContent), never as markup.
const $ = (selector) => document.querySelector(selector);
const kept = sessionStorage; // access: the token of who is logged in; cart: a guest's; order: the one that is shown;
// chat, chat_token: the conversation, and a guest's token of it
const MARKS = { ok: "✓", refused: "✗", unknown: "?", undone: "↶", pending: "…", rejecting: "↶", rejected: "✗",
  confirmed: "✓", shipped: "✓", delivered: "✓", cancelling: "↶", cancelled: "✗",
  returned: "↶", made_good: "+", skipped: "-", given_up: "-", resolved: "!" }; // of steps and orders
let cart, purchase = {}, turn = Promise.resolve(), typing, following, met; // met: the token of whom we know the roles
const fields = (form) => Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
const money = ({ amount, currency }, format = new Intl.NumberFormat("en", { style: "currency", currency })) =>
  format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
function el(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
async function call(method, path, body, more) { // throws a problem with its status, 0 if there was no answer
  const who = kept.access ? { Authorization: `Bearer ${kept.access}` } : kept.cart && { "Cart-Token": kept.cart };
  const headers = { "Content-Type": "application/json", ...who, ...more };
  const [status, answer] = await fetch(path, { method, headers, body: body && JSON.stringify(body) })
    .then(async (response) => [response.status, response.status === 204 ? null : await response.json()])
    .catch(() => [0, { detail: "The shop does not answer. Try again: nothing is done twice." }]);
  if (status >= 200 && status < 300) return answer;
  if ((status === 401 && kept.access) || answer.code === "carts.not_found") await leave(answer.detail);
  throw Object.assign(new Error(answer.detail), { status });
}
function act(part, action) { // one thing after the other; what goes wrong is shown by the part of the page that asked
  const says = part.querySelector(".problem");
  turn = turn.then(() => (says.textContent = "")).then(action).catch((problem) => (says.textContent = problem.message));
}
async function find(cursor) {
  const asked = new URLSearchParams({ limit: 12, ...fields($("#search")), ...(cursor && { cursor }) });
  const { items, next_cursor } = await call("GET", `/v1/products?${asked}`);
  if (!cursor) $("#products").replaceChildren();
  $("#products").append(...items.map(card));
  $("#found").textContent = $("#products").firstChild ? "" : "Nothing found. Try another word or category.";
  Object.assign($("#more"), { hidden: !next_cursor, onclick: () => act($("#catalogue"), () => find(next_cursor)) });
}
function card({ name, description, category, variants }) {
  const kind = el("select", { ariaLabel: `Kind of ${name}`, hidden: variants.length < 2 }, ...variants.map((variant) =>
    el("option", {}, Object.values(variant.options).join(", "), variant.available ? "" : " ○ sold out")));
  const stock = el("span"), add = el("button", { ariaLabel: `Add ${name} to the cart` }, "Add");
  const item = el("li", {}, el("small", {}, category), el("h3", {}, name), el("p", {}, description), kind,
    el("div", { className: "row" }, stock, add), el("p", { className: "problem", role: "alert" }));
  kind.onchange = () => {
    const { sku, price, available } = variants[kind.selectedIndex];
    const inCart = () => cart.lines.find((line) => line.sku === sku)?.quantity ?? 0;
    stock.replaceChildren(el("b", {}, money(price)), " ", el("small", {}, available ? "● in stock" : "○ sold out"));
    Object.assign(add, { disabled: !available, onclick: () => act(item, () => put(sku, inCart() + 1)) });
  };
  kind.onchange();
  return item;
}
async function put(sku, quantity) {
  if (!kept.access && !kept.cart) kept.cart = (await call("POST", "/v1/carts")).cart_token;
  showCart(await call("PUT", `/v1/cart/items/${encodeURIComponent(sku)}`, { quantity }));
}
function showCart(view) {
  const change = (sku, to) => act($("#cart"), () => put(sku, to).catch((error) => { showCart(cart); throw error; }));
  const focused = document.activeElement.id;
  cart = view;
  $("#count").textContent = cart.lines.reduce((sum, { quantity }) => sum + quantity, 0);
  $("#total").textContent = cart.lines.length ? `Total ${money(cart.total)}` : "It is empty.";
  $("#lines").replaceChildren(...cart.lines.map(({ sku, name, options, quantity, line_total, available }) =>
    el("li", { className: "row" }, el("span", {}, [name, ...Object.values(options)].join(", ")),
      el("input", { id: `number ${sku}`, type: "number", min: 0, max: 999, value: quantity,
        ariaLabel: `How many ${name}`, onchange: (event) => change(sku, event.target.valueAsNumber) }),
      el("small", {}, available ? "" : "○ sold out"), el("b", {}, money(line_total)),
      el("button", { id: `remove ${sku}`, ariaLabel: `Remove ${name}`, onclick: () => change(sku, 0) }, "✕"))));
  if (focused) (document.getElementById(focused) ?? $("#cart")).focus({ preventScroll: true }); // its element is new
  act($("#checkout"), quote);
}
async function enter() { // the page of whoever it is now
  document.body.className = kept.access ? "member" : "guest";
  document.dispatchEvent(new Event("entered"));
  if (!kept.access) $("#registry").replaceChildren();
  showCart(kept.access || kept.cart ? await call("GET", "/v1/cart") : { lines: [] });
  if (!kept.access || met === kept.access) return;
  const { roles } = await call("GET", "/v1/me");
  met = kept.access;
  if (roles.includes("operator")) await import("/web/registry.js").then(({ watch }) => watch());
}
const leave = (why) => { kept.clear(); $("#account .problem").textContent = why; return enter(); };
async function logIn(isNew) {
  const { name = "", ...account } = fields($("#account"));
  if (isNew) await call("POST", "/v1/users", { name, ...account });
  kept.access = (await call("POST", "/v1/sessions", { ...account, cart_token: kept.cart })).access_token;
  delete kept.cart;
  $("#cart").focus(); // before the form goes
  await enter();
}
function wanted() {
  const { token, ...shipping_address } = fields($("#checkout"));
  return { shipping_address, payment_method: { type: "card", token }, expected_total: cart.quoted };
}
async function quote() { // the total with shipping; none before there is an address
  $("#quote").textContent = "";
  if (!kept.access || !cart.lines.length || $("#checkout").matches(":invalid")) return;
  const sums = await call("POST", "/v1/cart/quote", { shipping_address: wanted().shipping_address });
  $("#quote").textContent = `${money(sums.total)} with ${money(sums.shipping)} shipping and ${money(sums.tax)} tax`;
  cart.quoted = sums.total;
}
async function buy() {
  const asked = wanted(), text = JSON.stringify(asked);
  if (purchase.text !== text) purchase = { text, key: crypto.randomUUID() }; // a retry carries the same key
  const order = await call("POST", "/v1/orders", asked, { "Idempotency-Key": purchase.key })
    .catch((problem) => quote().finally(() => { throw problem; }));
  purchase = {};
  await open(order.id);
}
async function open(id) { // show another order
  kept.order = id;
  for (const part of [$("#state"), $("#timeline")]) part.replaceChildren();
  await follow();
  $("#order").focus();
}
async function follow() { // until nothing more will happen to the order
  clearTimeout(following);
  const id = kept.order, order = await call("GET", `/v1/orders/${id}`).catch((problem) => problem);
  if (id !== kept.order) return;
  $("#order .problem").textContent = order.message ?? "";
  if (order.id) showOrder(order);
  if (["pending", "rejecting", "cancelling"].includes(order.status)) following = setTimeout(follow, 250);
  else if (["confirmed", "shipped", 0, 503, 504].includes(order.status)) following = setTimeout(follow, 2000);
}
function showOrder({ status, reason, lines, totals, payment, shipment, timeline }) {
  const state = `${MARKS[status]} Order ${status}. ${reason ?? ""}`;
  if ($("#state").textContent !== state && status !== "pending") act($("#cart"), enter); // it may be empty now
  if ($("#state").textContent !== state) $("#state").textContent = state; // to be read out once
  $("#outcome").textContent = lines.map(({ quantity, name }) => `${quantity} × ${name}, `).join("") +
    `${money(totals.total)} in all. Payment: ${payment.status}. Parcel: ${shipment.status} ${shipment.tracking ?? ""}`;
  if (payment.action_url) $("#outcome").append(el("br"), el("a", { href: payment.action_url, target: "_blank",
    rel: "noopener" }, "Approve the payment at your bank"));
  const news = timeline.slice($("#timeline").childElementCount);
  $("#timeline").append(...news.map(({ step, service, outcome, ms, detail }) => el("li", { className: outcome },
    el("b", { ariaHidden: "true" }, MARKS[outcome]), el("span", {}, step.replaceAll("_", " ")),
    el("small", {}, `${outcome} · ${service ?? "orders"} · ${ms} ms`), el("small", {}, detail ?? ""))));
  Object.assign($("#order"), { className: status, hidden: false });
}
$("#search").oninput = () => (clearTimeout(typing), (typing = setTimeout(act, 200, $("#catalogue"), find)));
$("#checkout").onchange = () => act($("#checkout"), quote);
$("#log-out").onclick = () => act($("#cart"), () => call("DELETE", "/v1/sessions/current").then(leave));
document.onsubmit = (event) => {
  const form = event.target, { value } = event.submitter ?? {}, busy = form.ariaBusy; // busy: a double click
  event.preventDefault();
  if (busy || form.id === "search") return;
  form.ariaBusy = "true";
  act(form, () => (form.id === "account" ? logIn(value) : buy()).finally(() => (form.ariaBusy = null)));
};
for (const [part, action] of [["#cart", enter], ["#catalogue", find]]) act($(part), action);
act($("#catalogue"), async () => (await call("GET", "/v1/categories")).forEach(({ slug, name }) =>
  $("#search select").append(el("option", { value: slug }, name))));
if (kept.order) follow();
export { $, act, call, el, fields, find, kept, leave, open };
