// What a session has besides the language. It is called once, with the functions that the worker
// provides, before any code of a user runs; and keeps what it uses, so that code which replaces
// `JSON.stringify` harms itself alone.
(function (native, names) {
    "use strict";
    const { Promise, Error, Map, Set, Object, Array, String, Symbol, Function, Proxy } = globalThis;
    const { stringify, parse } = globalThis.JSON;
    const { apply, defineProperty, ownKeys, getPrototypeOf, getOwnPropertyDescriptor } = globalThis.Reflect;
    const then = Promise.prototype.then;
    const isPrototypeOf = Object.prototype.isPrototypeOf;
    const errors = Error.prototype;
    const functionText = Function.prototype.toString;
    const entriesOf = Map.prototype.forEach;
    const valuesOf = Set.prototype.forEach;
    const sizeOfMap = getOwnPropertyDescriptor(Map.prototype, "size").get;
    const sizeOfSet = getOwnPropertyDescriptor(Set.prototype, "size").get;
    const { isWellFormed, toWellFormed, slice } = String.prototype;
    const { toString: integerText } = globalThis.BigInt.prototype;
    const evaluate = globalThis.eval;

    // The worker's texts cannot contain half of a character, as `"\ud800"` is: it is replaced.
    function whole(text) {
        return apply(toWellFormed, text, []);
    }

    // Promises of host functions, by number, until they are settled.
    const pending = Object.create(null);

    function wait(number) {
        // Made here, as its stack tells where the function was called.
        const error = new Error();
        return new Promise((resolve, reject) => {
            pending[number] = [resolve, reject, error];
        });
    }

    // The code must stop. The engine finds that out here, and ends the code, which cannot catch that.
    function stop() {
        for (;;);
    }

    // The same function gives a value to sync code and a promise to async code.
    function call(name, list) {
        const text = stringify(list, (_, value) => (value === undefined ? null : value));
        const answer = native.call(name, text);
        if (answer === undefined) stop();
        switch (answer[0]) {
            case "v": return answer[1] === "" ? undefined : parse(answer[1]);
            case "p": return wait(answer[1]);
            default: throw new Error(answer[1]);
        }
    }

    function define(object, name, value) {
        Object.defineProperty(object, name, { value, writable: true, configurable: true });
    }

    for (const name of names) {
        const f = (...list) => call(name, list);
        define(f, "name", name);
        define(globalThis, name, f);
    }

    // Timers are promises that nobody waits for: they go on between executions.
    let timers = 0;
    const live = Object.create(null);
    define(globalThis, "setTimeout", function setTimeout(f, delay = 0, ...list) {
        const timer = ++timers;
        live[timer] = true;
        const slept = wait(native.start("sleep", stringify([+delay || 0])));
        apply(then, slept, [() => {
            if (live[timer]) {
                delete live[timer];
                f(...list);
            }
        }]);
        return timer;
    });
    define(globalThis, "clearTimeout", function clearTimeout(timer) {
        delete live[timer];
    });

    // ---------------------------------------------------------------------
    // Values as text

    const LONGEST = 100;
    const LONGEST_ERROR = 4000;

    function key(name) {
        if (typeof name === "symbol") return `[${apply(Symbol.prototype.toString, name, [])}]`;
        return /^[A-Za-z_$][\w$]*$/.test(name) ? name : stringify(name);
    }

    function inspect(value, depth = 3, seen = []) {
        try {
            return text(value, depth, seen);
        } catch {
            return "[a value that cannot be shown]";
        }
    }

    function text(value, depth, seen) {
        switch (typeof value) {
            case "string": return stringify(value);
            // Not as a part of a template, which could not be interrupted.
            case "bigint": return `${apply(integerText, value, [])}n`;
            case "symbol": return apply(Symbol.prototype.toString, value, []);
            case "number": return Object.is(value, -0) ? "-0" : String(value);
            case "undefined":
            case "boolean": return String(value);
        }
        if (value === null) return "null";
        if (seen.includes(value)) return "[circular]";
        if (typeof value === "function") {
            const name = getOwnPropertyDescriptor(value, "name")?.value;
            const kind = apply(functionText, value, []).startsWith("class") ? "class" : "function";
            return name ? `[${kind} ${name}]` : `[${kind}]`;
        }
        if (isError(value)) {
            return `${value.name}: ${value.message}`;
        }
        const inner = [...seen, value];
        const parts = [];
        const more = (count) => {
            if (count > LONGEST) parts.push(`... ${count - LONGEST} more`);
        };
        if (Array.isArray(value)) {
            if (depth === 0) return "[array]";
            for (let at = 0; at < value.length && at < LONGEST; at++) {
                const found = getOwnPropertyDescriptor(value, at);
                parts.push(found ? property(found, depth, inner) : "empty");
            }
            more(value.length);
            return `[${parts.join(", ")}]`;
        }
        if (value instanceof Map) {
            if (depth === 0) return "[map]";
            apply(entriesOf, value, [(entry, name) => {
                if (parts.length < LONGEST) {
                    parts.push(`${inspect(name, depth - 1, inner)} => ${inspect(entry, depth - 1, inner)}`);
                }
            }]);
            more(apply(sizeOfMap, value, []));
            return `Map {${parts.join(", ")}}`;
        }
        if (value instanceof Set) {
            if (depth === 0) return "[set]";
            apply(valuesOf, value, [(entry) => {
                if (parts.length < LONGEST) parts.push(inspect(entry, depth - 1, inner));
            }]);
            more(apply(sizeOfSet, value, []));
            return `Set {${parts.join(", ")}}`;
        }
        if (value instanceof Promise) return "[promise]";
        const prototype = getPrototypeOf(value);
        const owner = prototype && getOwnPropertyDescriptor(prototype, "constructor")?.value;
        const name = owner && owner !== Object ? getOwnPropertyDescriptor(owner, "name")?.value : "";
        const prefix = name ? `${name} ` : prototype === null ? "[no prototype] " : "";
        if (depth === 0) return `${prefix}{..}`;
        const keys = ownKeys(value);
        for (let at = 0; at < keys.length && at < LONGEST; at++) {
            const found = getOwnPropertyDescriptor(value, keys[at]);
            if (found?.enumerable) parts.push(`${key(keys[at])}: ${property(found, depth, inner)}`);
        }
        more(keys.length);
        return parts.length ? `${prefix}{ ${parts.join(", ")} }` : `${prefix}{}`;
    }

    // Getters are not called: they are code of a user.
    function property(found, depth, seen) {
        return "value" in found ? inspect(found.value, depth - 1, seen) : "[getter]";
    }

    // ---------------------------------------------------------------------
    // Output

    function print(stream) {
        return (...list) => {
            const text = list.map((v) => (typeof v === "string" ? v : inspect(v))).join(" ");
            if (!native.print(stream, whole(text) + "\n")) stop();
        };
    }

    define(globalThis, "print", print("out"));
    define(globalThis, "console", {
        log: print("out"),
        info: print("out"),
        debug: print("out"),
        warn: print("err"),
        error: print("err"),
    });

    // ---------------------------------------------------------------------
    // What the worker calls

    // Not `instanceof`, which asks a function that code may replace: an execution whose error cannot
    // be described would never end.
    function isError(value) {
        try {
            return apply(isPrototypeOf, errors, [value]);
        } catch {
            return false;
        }
    }

    function describe(thrown) {
        if (isError(thrown)) {
            const read = (name) => {
                try {
                    return whole(String(thrown[name] ?? ""));
                } catch {
                    return "";
                }
            };
            return [read("name"), read("message"), read("stack")];
        }
        return ["Thrown", whole(inspect(thrown)), ""];
    }

    // The end of async code. Whatever the code has done to the language, the worker is told: it
    // would wait until the time is over.
    function end(file, ok, parts) {
        try {
            native.done(file, ok, parts());
        } catch {
            native.done(file, false, ["Error", "the outcome cannot be shown", ""]);
        }
    }

    // `kept` has pairs of promises, or `undefined`, and reasons.
    function tellRejections(kept, used, others) {
        let text = "";
        for (let at = 0; at < 2 * used; at += 2) {
            if (kept[at] === undefined) continue;
            const [name, message, stack] = describe(kept[at + 1]);
            const lines = `Uncaught ${name === "Thrown" ? "" : `${name}: `}${message}\n${stack}`;
            const last = lines[lines.length - 1] === "\n" ? "" : "\n";
            text += lines.length > LONGEST_ERROR ? `${apply(slice, lines, [0, LONGEST_ERROR])}...\n` : lines + last;
        }
        if (others > 0) text += `... ${others} more\n`;
        if (text !== "") native.print("err", whole(text));
    }

    // What `value` has, and what it inherits, without calling getters.
    function members(value) {
        const found = [];
        for (let at = value; at !== null && at !== undefined && found.length < 1000;) {
            const object = Object(at);
            for (const name of ownKeys(object)) {
                // Longer names are not worth completing.
                const isText = typeof name === "string" && name.length <= 200 && apply(isWellFormed, name, []);
                if (isText && found.length < 20000) found.push(name);
            }
            at = getPrototypeOf(object);
        }
        return found;
    }

    // Those of the names that stand for something, were it `undefined`.
    function exist(names) {
        return names.filter((name) => {
            try {
                evaluate(name);
                return true;
            } catch {
                return false;
            }
        });
    }

    return function (what, a, b, c) {
        switch (what) {
            case "settle": {
                const functions = pending[a];
                delete pending[a];
                if (!functions) return;
                const [resolve, reject, error] = functions;
                if (b) return void resolve(c === "" ? undefined : parse(c));
                define(error, "message", c);
                return void reject(error);
            }
            case "forget":
                delete pending[a];
                return;
            case "watch":
                // Code may have replaced the class that `then` would take for its result.
                defineProperty(a, "constructor", { value: undefined });
                apply(then, a, [
                    (result) => end(b, true, () => {
                        const { value } = result;
                        return value === undefined ? [] : [whole(inspect(value))];
                    }),
                    (thrown) => end(b, false, () => describe(thrown)),
                ]);
                return;
            case "tell rejections": return tellRejections(a, b, c);
            case "show": return a === undefined ? [] : [whole(inspect(a))];
            case "describe": return describe(a);
            case "members": return members(a === "" ? globalThis : evaluate(a));
            case "exist": return exist(a);
            case "inspect": return [whole(inspect(evaluate(a), 6))];
        }
    };
})
