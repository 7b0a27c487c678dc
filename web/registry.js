// For operators: who is there, by GET /v1/registry. Loaded for them alone; whatever it shows goes in as text.
import { $, call, el } from "/web/shop.js";
const EVERY_MS = 5000;
const MARKS = { up: "●", draining: "◐", suspect: "?", error: "✗", warning: "!", info: "i" }; // each beside its word
const FIGURES = [["n", "services"], ["M", "instances"], ["R", "methods promised"], ["R_register", "of them announced"],
  ["P", "sagas"], ["T", "commands that they use"]];
const part = $("#registry"), says = el("p", { role: "status" }), when = el("small");
const problem = el("p", { className: "problem", role: "alert" }), findings = el("ul"), figures = el("dl");
const again = el("button", { hidden: true, onclick: () => look() }, "Look again"), rows = el("tbody");
let timer, looks = 0;
export function watch() { // until somebody logs out, or something goes wrong
  const heads = ["Service", "m", "Instances, by process", "Queue: ready / unacked / consumers"];
  const head = el("thead", {}, el("tr", {}, ...heads.map((each) => el("th", { scope: "col" }, each))));
  part.replaceChildren(
    el("h2", {}, "Who is there"), says, problem, again, findings, figures, el("table", {}, head, rows), when);
  return look();
}
async function look() {
  const mine = ++looks, hadFocus = document.activeElement === again;
  clearTimeout(timer);
  if (document.hidden || !part.firstChild) return;
  const seen = await call("GET", "/v1/registry").catch((error) => error);
  if (mine !== looks || !part.firstChild) return; // a later one was begun, or its reader has logged out
  problem.textContent = seen.message ?? "";
  again.hidden = !seen.message;
  if (seen.message) return;
  show(seen);
  if (hadFocus) part.focus();
  timer = setTimeout(look, EVERY_MS);
}
function fill(place, ...children) { // what is the same stays: it may be selected, or being read out
  const made = el("div", {}, ...children);
  if (made.textContent !== place.textContent) place.replaceChildren(...made.childNodes);
}
function show({ services, model, findings: found, at, bound_s, queues_from }) {
  fill(says, `${model.n} services, ${model.M} instances, ${count(found, "error")}, ${count(found, "warning")}.`);
  fill(findings, ...found.map(({ severity, text }) => marked(severity, text)));
  fill(figures, ...FIGURES.map(([name, what]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, el("b", {}, model[name]), " ", el("small", {}, what)))));
  fill(rows, ...services.map(({ name, m, instances, stranger, queue: { ready, unacked, consumers } }) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, m),
      el("td", {}, stranger ? "announces nothing" : instances.length ? "" : "none",
        el("ul", {}, ...instances.map(({ id, state, pid }) => marked(state, `${pid} `, el("small", {}, id))))),
      el("td", {}, [ready, unacked, consumers].map((figure) => figure ?? "–").join(" / ")))));
  when.textContent = `Looked at ${new Date(at).toLocaleTimeString()}, every ${EVERY_MS / 1000} s. An instance that ` +
    `dies is counted for ${bound_s} s more at most. The queues' figures are from: ${queues_from}.`;
}
const marked = (word, ...text) =>
  el("li", { className: word }, el("b", {}, el("span", { ariaHidden: "true" }, MARKS[word]), ` ${word} `), ...text);
function count(found, severity) {
  const many = found.filter((each) => each.severity === severity).length;
  return `${many || "no"} ${severity}${many === 1 ? "" : "s"}`;
}
document.addEventListener("visibilitychange", () => again.hidden && look());
