// What is kept about whoever is logged in: fetched as a file, or forgotten. Both take their time, and hold up nothing.
import { $, call, el, fields, kept, leave } from "/web/shop.js";
const form = $("#mine"), says = form.querySelector("[role=status]"), problem = form.querySelector(".problem");
const LOOKS = 60, PAUSE_MS = 1000, LATER = "It is still under way. Look again later.";

async function ended(path) {
  for (let look = 0; look < LOOKS; look += 1) {
    const asked = await call("GET", path);
    if (asked.status !== "running") return asked;
    await new Promise((go) => setTimeout(go, PAUSE_MS));
  }
  throw new Error(LATER);
}
async function fetchMine(key) {
  const { id } = await call("POST", "/v1/me/exports", null, { "Idempotency-Key": key });
  says.textContent = "It is being collected…";
  await ended(`/v1/me/exports/${id}`);
  const parts = [];
  for (let after = ""; after !== null; ) {
    const document = await call("GET", `/v1/me/exports/${id}/file?${new URLSearchParams(after && { after })}`);
    parts.push(...document.parts);
    after = document.next_after;
  }
  const file = new Blob([JSON.stringify(parts, null, 2)], { type: "application/json" });
  const name = `rialto-${id}.json`, records = parts.reduce((sum, { items }) => sum + items.length, 0);
  says.replaceChildren(`${records} records. `, el("a", { href: URL.createObjectURL(file), download: name }, "Save them"));
}
async function forgetMe(key) {
  const { password } = fields(form);
  if (!password) throw new Error("Say your password once more: there is no way back.");
  const { id } = await call("POST", "/v1/me/erasure", { password }, { "Idempotency-Key": key });
  says.textContent = "It is being looked whether nothing is under way…";
  const { status, open } = await ended(`/v1/erasures/${id}`);
  if (status === "erased") return leave("Your account is gone, and what was kept about you.");
  says.textContent = "";
  throw new Error(`You cannot leave yet. Not over: ${open.join("; ")}`);
}
form.onsubmit = async (event) => {
  event.preventDefault();
  event.stopPropagation(); // the page has forms of its own
  if (form.ariaBusy) return; // a double click
  Object.assign(form, { ariaBusy: "true" }), (says.textContent = problem.textContent = "");
  const action = event.submitter?.value === "leave" ? forgetMe : fetchMine;
  await action(crypto.randomUUID()).catch(({ message }) => { says.textContent = ""; problem.textContent = message; });
  form.ariaBusy = null;
};
document.addEventListener("entered", () => { form.reset(); if (!kept.access) says.textContent = ""; });
