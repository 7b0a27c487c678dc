// Talking with customer service, by /v1/conversations. Whatever comes from the server goes in as text, never as markup.
import { $, act as ask, call, el, find, kept, open as showOrder } from "/web/shop.js";
const FIRST_MS = 1000, LAST_MS = 15000, SLOWER = 1.5; // looks are this far apart, the longer the less happens
const PAGE = 200, HAN = /\p{Script=Han}/u;
const WORDS = {
  en: { title: "Customer service", fresh: "Start over", close: "Close", message: "Your message", send: "Send",
    greeting: "Ask about orders, parcels, refunds, your account or our goods, in English or Chinese.", back: "Back",
    customer: "You", assistant: "Assistant", staff: "Our team", system: "Rialto", sources: "From", as_of: "as of",
    person: "Talk to a person", i_want: "I want to talk to a person.", settled: "That is all", confirm: "Confirm",
    decline: "Decline", offered: "Waits for your word, until", confirmed: "… Under way", started: "… Under way",
    done: "✓ Done", refused: "✗ Not done:", declined: "- Left as it is", expired: "○ Over: ask again if you want it",
    rate: "How was it?", thanks: "Thank you.", bot: "The assistant answers. It does nothing before you confirm it.",
    waiting: "Waiting for somebody of our team.", open: "Somebody of our team is with you.",
    pending: "Our team waits for your answer.", solved: "Solved. Write if it is not.",
    closed: "This conversation is over. Begin a new one." },
  zh: { title: "客户服务", fresh: "重新开始", close: "关闭", message: "您的消息", send: "发送",
    greeting: "订单、包裹、退款、账户或商品，都可以用中文或英文提问。", back: "返回",
    customer: "您", assistant: "智能助手", staff: "人工客服", system: "Rialto", sources: "来源：", as_of: "截至",
    person: "转人工客服", i_want: "我要转人工客服。", settled: "没有其他问题了", confirm: "确认",
    decline: "不用了", offered: "等待您的确认，有效期至", confirmed: "… 处理中", started: "… 处理中",
    done: "✓ 已完成", refused: "✗ 未完成：", declined: "- 保持不变", expired: "○ 已失效。如仍需要，请重新提出",
    rate: "您觉得怎么样？", thanks: "谢谢！", bot: "智能助手为您服务，未经您确认不会办理任何事情。",
    waiting: "正在等待人工客服。", open: "人工客服正在为您服务。",
    pending: "人工客服在等您的回复。", solved: "已解决。如果没有，请继续留言。",
    closed: "对话已结束，请开始新对话。" },
};
const part = $("#chat"), opener = $("#ask"), labels = []; // labels: elements with the word that each says
const cards = new Map(), offers = new Map(); // by an action's id: its element, and what it is now
let language, status, last, looks = 0, pause, timer, turn = Promise.resolve(), tried, who, rating, lost;
function worded(tag, word, properties) {
  const made = el(tag, properties);
  labels.push([made, word]);
  return made;
}
const heading = worded("h2", "title"), state = el("p", { role: "status" }), hint = worded("p", "greeting");
const log = el("div", { role: "log", ariaLive: "polite", tabIndex: 0 });
const fresh = worded("button", "fresh", { hidden: true, onclick: () => act(begin) });
const close = el("button", { onclick: () => toggle(false) }, "✕");
const sending = el("p", { className: "sending", ariaHidden: "true" });
const problem = el("p", { className: "problem", role: "alert" });
const person = worded("button", "person", { type: "button", onclick: () => act(askForPerson) });
const settled = worded("button", "settled",
  { type: "button", onclick: () => ((rating = true), dress(), focusOn(stars)) });
const scores = [1, 2, 3, 4, 5].map((score) =>
  el("button", { type: "button", ariaLabel: `${score} / 5`, onclick: () => act(() => rate(score)) }, score));
const stars = el("div", { className: "row stars", role: "group", tabIndex: -1, hidden: true }, worded("span", "rate"),
  ...scores);
const text = el("textarea", { name: "text", rows: 2, maxLength: 4000 });
const form = el("form", {}, el("label", {}, worded("span", "message"), text),
  el("div", { className: "row" }, worded("button", "send"), person, settled));
const article = el("article", { hidden: true });
const talk = el("div", { className: "talk" }, state, log, sending, stars, problem, form);
part.append(el("div", { className: "row" }, heading, fresh, close), talk, article);
const word = (key) => WORDS[language][key];
const languageOf = (words) => (HAN.test(words) ? "zh" : "en");
const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const focusOn = (place) => place.focus({ preventScroll: true });
function speak(to) { // the panel's own words, in the customer's language
  if (language === to) return;
  [language, part.lang] = [to, to];
  for (const [place, key] of labels) place.textContent = word(key);
  for (const [place, key] of [[part, "title"], [log, "title"], [stars, "rate"], [close, "close"]])
    place.ariaLabel = word(key);
  for (const action of offers.values()) fill(action);
}
function dress() { // what can be done depends on the conversation's state
  const solved = status === "solved";
  state.textContent = kept.chat ? word(status) : "";
  fresh.hidden = !kept.chat;
  person.hidden = !["bot", "solved"].includes(status);
  settled.hidden = !kept.chat || status !== "bot" || Boolean(rating);
  form.hidden = status === "closed";
  stars.hidden = rating === "given" || !(solved || rating);
}
function act(action) { // one thing after the other; what goes wrong is said
  turn = turn.then(() => (problem.textContent = "")).then(action)
    .catch((error) => (problem.textContent = error.message));
}
function request(method, path, body, key) {
  const token = !kept.access && kept.chat_token;
  return call(method, `/v1/conversations${path}`, body,
    { ...(token && { "Conversation-Token": token }), ...(key && { "Idempotency-Key": key }) });
}
function clear() {
  [status, last, pause, rating, tried] = ["bot", 0, FIRST_MS, false, null];
  looks += 1;
  for (const known of [cards, offers]) known.clear();
  sending.textContent = "";
  log.replaceChildren(el("div", { className: "said system" }, hint));
  dress();
}
function begin() { // nothing said yet
  for (const name of ["chat", "chat_token"]) delete kept[name];
  clear();
  back();
  focusOn(text);
}
async function resume() { // what this tab talked about last, or a customer's latest that is not over
  who = kept.access;
  if (who && kept.chat_token) for (const name of ["chat", "chat_token"]) delete kept[name];
  clear();
  if (who && !kept.chat) {
    const [latest] = (await request("GET", "?limit=1")).items;
    if (latest && !["solved", "closed"].includes(latest.status)) kept.chat = latest.id;
  }
  log.ariaBusy = "true"; // it was read before
  await look().finally(() => (log.ariaBusy = null));
}
function toggle(shown) {
  part.hidden = !shown;
  opener.ariaExpanded = String(shown);
  clearTimeout(timer);
  focusOn(shown ? text : opener);
  if (shown) act(() => (who === kept.access && last ? look() : resume()));
}
async function look() { // what has happened since; again after a while
  const mine = ++looks, id = kept.chat;
  clearTimeout(timer);
  if (!id || part.hidden || document.hidden) return;
  const seen = await request("GET", `/${id}/events?after=${last}`).catch((error) => error);
  if (mine !== looks) return; // a later look was begun, or another conversation
  if (seen.message) return miss(seen);
  if (lost) problem.textContent = "";
  [lost, last, pause] = [false, seen.last, seen.items.length ? FIRST_MS : Math.min(pause * SLOWER, LAST_MS)];
  const below = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  seen.items.forEach(show);
  dress();
  if (below && seen.items.length) log.scrollTop = log.scrollHeight;
  if (seen.items.length === PAGE) return look();
  if (status !== "closed") timer = setTimeout(look, pause);
}
function miss(error) {
  if (error.status === 404) begin();
  problem.textContent = error.message;
  [lost, pause] = [true, Math.min(pause * SLOWER, LAST_MS)];
  if ([0, 503, 504].includes(error.status)) timer = setTimeout(look, pause);
}
function show({ message, action, status: now }) {
  if (message) log.append(said(message));
  if (action) fill(action);
  if (now === "solved" && status !== now) rating &&= "given";
  if (now) status = now;
}
function said({ from, text: words, at, sources, actions }) {
  if (from === "customer") speak(languageOf(words));
  return el("div", { className: `said ${from}`, lang: languageOf(words) },
    el("small", {}, el("b", {}, word(from)), " ", el("time", { dateTime: at }, clock(at))), el("p", {}, words),
    sources.length ? el("ul", { ariaLabel: word("sources") }, ...sources.map(link)) : "", ...actions.map(card));
}
function link({ title, url, at }) { // an article opens here, an order and a product on the page
  const [, kind, id] = /^\/v1\/(articles|orders|products)\/([\w-]+)/.exec(url) ?? [];
  const since = at ? el("small", {}, ` ${word("as_of")} ${clock(at)}`) : "";
  if (!kind) return el("li", {}, title, since);
  const follow = { articles: (place) => act(() => read(url, place)),
    orders: () => (aside(), ask($("#cart"), () => showOrder(id))), products: () => (aside(), searchFor(title)) }[kind];
  const onclick = (event) => (event.preventDefault(), follow(event.currentTarget));
  return el("li", {}, "↗ ", el("a", { href: url, onclick }, title), since);
}
function aside() { // where the panel covers the page
  if (matchMedia("(max-width: 60rem)").matches) toggle(false);
}
function searchFor(name) {
  $("#search").reset();
  $("#search [name=query]").value = name;
  ask($("#catalogue"), find);
  $("#search [name=query]").focus();
}
async function read(url, from) {
  const { title, text: words, language: its } = await call("GET", url);
  const top = el("h2", { tabIndex: -1 }, title);
  article.replaceChildren(el("button", { onclick: () => (back(), focusOn(from)) }, `← ${word("back")}`), top,
    ...words.split(/\n{2,}/).map((each) => el("p", {}, each)));
  Object.assign(article, { lang: its, hidden: false });
  talk.hidden = true;
  top.focus();
}
function back() {
  [article.hidden, talk.hidden] = [true, false];
}
function card(action) {
  const made = el("div", { className: "action", role: "group", tabIndex: -1 });
  cards.set(action.id, made);
  fill(action);
  return made;
}
function fill(action) { // an action as it is now
  const made = cards.get(action.id), { id, status: now, summary, changes, reason, expires_at } = action;
  if (!made) return;
  const had = made.contains(document.activeElement), until = now === "offered" ? ` ${clock(expires_at)}` : "";
  const choice = (what) => el("button", { onclick: () => act(() => decide(id, what)) }, word(what));
  offers.set(id, action);
  Object.assign(made, { className: `action ${now}`, ariaLabel: summary });
  made.replaceChildren(el("b", {}, summary),
    el("ul", {}, ...changes.map(({ what, before, after }) => el("li", {}, what, before || after ? ": " : "",
      before ? el("s", {}, before) : "", before && after ? " → " : "", after ?? ""))),
    el("p", {}, [word(now) ?? now, now === "refused" && reason].filter(Boolean).join(" "), until),
    now === "offered" ? el("div", { className: "row" }, choice("confirm"), choice("decline")) : "");
  if (had) focusOn(made); // what had the focus is gone
}
async function decide(id, what) {
  pause = FIRST_MS;
  fill(await request("POST", `/${kept.chat}/actions/${id}/${what}`).finally(look));
}
async function send(words) {
  const began = kept.chat ?? "", same = tried?.words === words && tried.began === began;
  if (!same) tried = { words, began, key: crypto.randomUUID() }; // a retry carries the same key
  [sending.textContent, pause] = [`${words} …`, FIRST_MS];
  sending.scrollIntoView({ block: "nearest" });
  try {
    if (began) await request("POST", `/${began}/messages`, { text: words }, tried.key);
    else await start(words, tried.key);
    tried = null;
  } catch (error) {
    text.value ||= words; // to be tried again
    throw error;
  } finally {
    sending.textContent = "";
    if (rating === true) rating = false; // so that was not all
  }
  log.scrollTop = log.scrollHeight;
  await look();
}
async function start(words, key) {
  const begun = await request("POST", "", { message: words }, key);
  kept.chat = begun.id;
  if (begun.token) kept.chat_token = begun.token;
}
async function askForPerson() {
  focusOn(text); // before the button goes
  if (!kept.chat) await send(word("i_want"));
  if (["bot", "solved"].includes(status)) await request("POST", `/${kept.chat}/handoff`, {});
  await look();
}
async function rate(score) {
  await request("POST", `/${kept.chat}/rating`, { score });
  rating = "given";
  focusOn(text); // before what had it goes
  await look();
  state.textContent = `${word("thanks")} ${state.textContent}`;
}
form.onsubmit = (event) => {
  const words = text.value.trim();
  event.preventDefault();
  event.stopPropagation(); // the page has forms of its own
  if (!words) return;
  text.value = "";
  focusOn(text);
  act(() => send(words));
};
text.onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // Enter also ends what is composed
  event.preventDefault();
  form.requestSubmit();
};
part.onkeydown = ({ key, isComposing }) => {
  if (key === "Escape" && !isComposing) toggle(false);
};
opener.onclick = () => toggle(part.hidden);
document.addEventListener("visibilitychange", () => look());
document.addEventListener("entered", () => who !== kept.access && !part.hidden && act(resume));
speak(navigator.language.startsWith("zh") ? "zh" : "en");
clear();
