"use strict";
// Cells that run in one session of the worker. The protocol is that of `PROTOCOL.md`; how it comes
// over HTTP, `mod.rs` says.

const one = (id) => document.getElementById(id);
const [state, stop, reset, again, notice, cells] =
    ["state", "stop", "reset", "connect", "notice", "cells"].map(one);

// A cell shows so many characters of output, the last ones.
const SHOWN = 50_000;

// The token comes behind the `#`, and does not stay in the address, which people copy. A page that
// is loaded anew has it in the tab's own storage.
if (location.hash.length > 1) {
    sessionStorage.setItem("token", location.hash.slice(1));
    history.replaceState(null, "", location.pathname);
}
const token = sessionStorage.getItem("token");

let connection = null; // the number of the connection, while there is one
let sending = Promise.resolve();
let next = 1;
let count = 0;
const byId = new Map(); // the cell that an execution belongs to
const running = new Set(); // executions that have not ended

function post(path, body) {
    return fetch(path, { method: "POST", body, headers: { authorization: `Bearer ${token}` } });
}

/** Sends a message, after those before it. */
function send(message) {
    const id = next++;
    const to = connection;
    sending = sending.then(async () => {
        if (to === null || to !== connection) return;
        try {
            const response = await post(`/send/${to}`, JSON.stringify({ id, ...message }));
            if (!response.ok) refused(id, await response.text());
        } catch {
            // The worker is gone, which the other request says too.
        }
    });
    return id;
}

function refused(id, message) {
    // An interruption or an answer has no cell of its own.
    if (!byId.has(id)) say(message);
    take({ id, type: "error", name: "Refused", message });
}

async function connect() {
    again.hidden = true;
    say("");
    if (token === null) {
        state.textContent = "not connected";
        say("Open the address that the worker has printed, with what stands behind the “#”.");
        return;
    }
    state.textContent = "connecting";
    try {
        const response = await post("/connect");
        if (!response.ok) throw new Error(await response.text());
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
            const { done, value } = await reader.read();
            if (done) break;
            const lines = (rest + value).split("\n");
            rest = lines.pop();
            for (const line of lines) take(JSON.parse(line));
        }
        throw new Error("the worker has ended the connection");
    } catch (error) {
        lost(error);
    }
}

function lost(error) {
    connection = null;
    for (const id of [...running]) {
        take({ id, type: "error", name: "Lost", message: "the connection ended before the execution" });
    }
    again.hidden = false;
    say(`${error.message || error}. The session is gone; the cells are still here.`);
    show();
}

function say(text) {
    notice.textContent = text;
    notice.hidden = text === "";
}

function show() {
    const count = running.size;
    if (connection !== null) state.textContent = count > 0 ? "running" : "ready";
    else state.textContent = "not connected";
    stop.disabled = count === 0;
    reset.disabled = connection === null;
    document.documentElement.dataset.state = state.textContent;
    for (const cell of all()) {
        const runs = running.has(cell.id);
        cell.find(".run").disabled = runs || connection === null;
        cell.find(".remove").disabled = runs;
    }
}

/** What the worker says. */
function take(answer) {
    if (answer.connection !== undefined) {
        connection = answer.connection;
        show();
        return;
    }
    if (answer.type === "bad") say(answer.message);
    const cell = byId.get(answer.id);
    if (cell === undefined) return;
    switch (answer.type) {
        case "output": return cell.write(answer.text);
        case "input_request": return cell.ask(answer.request, answer.prompt);
        case "result": cell.ended(answer.kind); cell.value(answer.value); break;
        case "error": cell.ended(null); cell.error(answer); break;
        case "bad": cell.ended(null); break;
        default: return;
    }
    running.delete(answer.id);
    show();
}

class Cell {
    constructor(code) {
        this.element = one("cell").content.firstElementChild.cloneNode(true);
        this.element.cell = this;
        this.code = this.find("textarea");
        this.code.value = code;
        this.id = null; // of the last execution
        this.text = "";
        this.drawing = false;
        this.find(".run").addEventListener("click", () => this.run());
        this.find(".remove").addEventListener("click", () => this.remove());
        this.code.addEventListener("input", () => { this.fit(); keep(); });
        this.code.addEventListener("keydown", (event) => this.key(event));
        const ask = this.find(".ask");
        ask.addEventListener("submit", (event) => {
            event.preventDefault();
            send({ op: "input", request: this.request, value: ask.querySelector("input").value });
            ask.hidden = true;
            this.code.focus();
        });
        this.find(".run").disabled = connection === null;
        this.fit();
    }

    find(selector) { return this.element.querySelector(selector); }

    /** As many lines as there are, for browsers that do not see to that by `field-sizing`. */
    fit() { this.code.rows = Math.min(40, this.code.value.split("\n").length); }

    key(event) {
        if (event.isComposing) return;
        const at = all().indexOf(this);
        if (event.key === "Enter" && (event.shiftKey || event.ctrlKey || event.metaKey)) {
            this.run();
            if (event.shiftKey) (all()[at + 1] ?? add("")).code.focus();
        } else if (event.altKey && event.key === "ArrowUp") {
            all()[at - 1]?.code.focus();
        } else if (event.altKey && event.key === "ArrowDown") {
            all()[at + 1]?.code.focus();
        } else {
            return;
        }
        event.preventDefault();
    }

    run() {
        if (connection === null || running.has(this.id) || this.code.value.trim() === "") return;
        byId.delete(this.id);
        for (const part of [".output", ".value", ".error", ".ask"]) this.find(part).hidden = true;
        this.text = "";
        this.id = send({ op: "execute", code: this.code.value });
        byId.set(this.id, this);
        running.add(this.id);
        this.element.classList.add("running");
        this.number("running");
        show();
    }

    number(text) { this.find(".number").textContent = text; }

    ended(kind) {
        this.element.classList.remove("running");
        const ask = this.find(".ask");
        // The focus goes back to where somebody can type.
        if (ask.contains(document.activeElement)) this.code.focus();
        ask.hidden = true;
        count += 1;
        this.number(kind === null ? `${count}` : `${count}, ${kind}`);
        this.element.dataset.ended = count;
    }

    /** Output comes in many pieces: they are shown together, with the next picture. */
    write(text) {
        this.text = (this.text + text).slice(-SHOWN);
        if (this.drawing) return;
        this.drawing = true;
        setTimeout(() => {
            this.drawing = false;
            this.fill(".output", this.text);
        }, 16);
    }

    value(text) {
        if (text !== null && text !== undefined) this.fill(".value", text);
    }

    error({ name, message, line, column, caret, hint, stack }) {
        const place = line === undefined ? "" : ` (line ${line}, column ${column})`;
        const more = [caret, hint, caret === undefined ? stack : undefined];
        this.fill(".error", [`${name}: ${message}${place}`, ...more].filter(Boolean).join("\n"));
    }

    fill(part, text) {
        const element = this.find(part);
        element.hidden = text === "";
        element.textContent = text;
    }

    ask(request, prompt) {
        const ask = this.find(".ask");
        this.request = request;
        ask.querySelector(".prompt").textContent = prompt || "Input";
        const field = ask.querySelector("input");
        field.value = "";
        ask.hidden = false;
        field.focus();
    }

    remove() {
        if (running.has(this.id)) return;
        const at = all().indexOf(this);
        byId.delete(this.id);
        this.element.remove();
        if (all().length === 0) add("");
        (all()[at] ?? all().at(-1)).code.focus();
        keep();
        label();
    }
}

const all = () => [...cells.children].map((element) => element.cell);

function add(code) {
    const cell = new Cell(code);
    cells.append(cell.element);
    label();
    return cell;
}

/** What assistive technology calls them. */
function label() {
    all().forEach((cell, at) => {
        cell.code.setAttribute("aria-label", `Code of cell ${at + 1}`);
        cell.find(".run").setAttribute("aria-label", `Run cell ${at + 1}`);
        cell.find(".remove").setAttribute("aria-label", `Remove cell ${at + 1}`);
    });
}

/** The code of the cells outlives a reload of the page. */
function keep() {
    sessionStorage.setItem("cells", JSON.stringify(all().map((cell) => cell.code.value)));
}

function interrupt() {
    if (running.size > 0) send({ op: "interrupt", all: true });
}

stop.addEventListener("click", interrupt);
document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing) interrupt();
});
reset.addEventListener("click", () => {
    send({ op: "reset" });
    count = 0;
    for (const cell of all()) cell.number("new");
});
again.addEventListener("click", connect);
one("add").addEventListener("click", () => add("").code.focus());

for (const code of JSON.parse(sessionStorage.getItem("cells") ?? '[""]')) add(code);
cells.children[0].cell.code.focus();
show();
connect();
