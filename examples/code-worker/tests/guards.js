// Calls the functions that `src/guards.js` replaces in some thousand ways; returns a line per call.
(function () {
    const lines = [];

    function line(call) {
        let result;
        try {
            const value = call();
            result = JSON.stringify(value) + String(value) + Object.prototype.toString.call(value);
            if (typeof value === "object" && value !== null) result += Object.getOwnPropertyNames(value);
        } catch (error) {
            result = error.name;
        }
        // Writes half a character as its number, as Rust's strings cannot contain it.
        lines.push(`${lines.length} ${JSON.stringify(result)}`);
    }

    // -------------------------------------------------------------------
    // Arrays and array-like objects

    class Own extends Array {}
    const receivers = [
        () => [5, 1, , "b", 3, "abc", undefined, null, 10, 9],
        () => ({ length: 5, 0: "x", 1: "y", 3: "z" }),
        () => ({ length: 3, get 0() { return this.length; } }),
        () => "héllo",
        () => 5,
        () => null,
        () => undefined,
        () => (function () { return arguments; })(1, 2, 3),
        () => new Uint8Array([3, 1, 2]),
        () => [[1, [2, [3, [4]]]], , [5]],
        () => new Proxy([3, 2, 1], {}),
        () => Object.freeze([3, 1, 2]),
        () => Array(7),
        () => Own.from([3, [1], 2]),
    ];
    const lists = [
        [], [1], [1, 2], [0, 3, 4], [-2], [undefined], [undefined, undefined], ["b"], [null],
        [Infinity], ["z", 2], [[1, 2], "s", { length: 2, 0: "a", [Symbol.isConcatSpreadable]: true }],
    ];
    const methods = [
        "reverse", "join", "toLocaleString", "slice", "shift", "unshift", "splice", "sort", "toSorted",
        "flat", "concat", "indexOf", "lastIndexOf", "includes", "fill", "copyWithin",
    ];
    for (const method of methods) {
        for (const list of lists) {
            for (const receiver of receivers) {
                line(() => {
                    const object = receiver();
                    const result = [][method].apply(object, list);
                    return [
                        result === object ? "the same" : result, object, result?.constructor === Array,
                        result instanceof Own, Object.getOwnPropertyNames(Object(result)) + "",
                    ];
                });
            }
        }
    }
    for (const receiver of receivers) {
        const map = function (value, at, object) { return [value, at, [typeof object], this.self]; };
        line(() => [].flatMap.call(receiver(), map, { self: 1 }));
        line(() => [].flatMap.call(receiver(), 3));
        line(() => [].sort.call(receiver(), (a, b) => (a > b ? -1 : 1)));
    }
    line(() => { const a = [1, 2]; a[Symbol.isConcatSpreadable] = false; return [0].concat(a); });
    line(() => new Uint8Array([3, 1, 2]).sort() + "" + new Uint8Array(3).fill(7).indexOf(7));
    line(() => { const a = new Uint8Array(4); a.set([1, 2], 1); a.set({ length: 2, 0: 9 }); return a; });
    line(() => Uint8Array.prototype.fill.call([], 1));

    // -------------------------------------------------------------------
    // Texts

    const texts = ["", "a", "aaa", "abab", "hello world", "ababab$1", "😀x😀"];
    const wanted = [
        "", "a", "ab", "o", "zz", undefined, null, 1, /b/g, "😀", { toString: () => "a" }, "aaaaaaaa",
    ];
    for (const text of texts) {
        for (const pattern of wanted) {
            for (const method of ["indexOf", "lastIndexOf", "includes", "split", "startsWith", "endsWith"]) {
                for (const place of [undefined, 0, 1, -1, 2, 100, NaN, "1"]) {
                    line(() => text[method](pattern, place));
                }
                line(() => text[method](pattern));
            }
            for (const method of ["replace", "replaceAll"]) {
                for (const by of ["X", "$&$&", "$$", "$`", "$'", "$1$", "$", (...l) => l.join(), undefined, 3]) {
                    line(() => text[method](pattern, by));
                }
            }
        }
    }
    for (const text of ["", " ", " a ", "\t\u00a0a b\n\ufeff", "\u2028😀\u3000"]) {
        for (const method of ["trim", "trimStart", "trimEnd", "trimLeft", "trimRight"]) line(() => [text[method]()]);
    }
    for (const method of ["trim", "trimStart", "trimLeft"]) {
        for (const receiver of [null, undefined, 5, Symbol.iterator, { toString: () => " a " }]) {
            line(() => String.prototype[method].call(receiver));
        }
    }
    line(() => [String.prototype.trimLeft === String.prototype.trimStart, String.prototype.trimRight === String.prototype.trimEnd]);
    const odd = [null, undefined, 5, Symbol.iterator, { toString: () => "abc" }, new String("abab")];
    for (const method of ["indexOf", "lastIndexOf", "includes", "split", "replace", "normalize", "localeCompare", "isWellFormed"]) {
        for (const receiver of odd) {
            for (const pattern of ["b", Symbol.iterator, { [Symbol.split]: (...l) => l.join("|") }, new String("b")]) {
                line(() => String.prototype[method].call(receiver, pattern, "q"));
            }
        }
    }
    line(() => String.raw`a\n${1}b`);
    const removers = [
        /b/, /b/g, /(?:)/g, /(?:)/gu, /x*/g, /x*/gv, /^a/g, /a/gy, /(?<=a)b/g, /a|(b)/gi, /./gs, /zz/g, /$/gm,
    ];
    for (const text of [...texts, "aXbx\nba", "x😀😀"]) {
        for (const pattern of removers) {
            for (const by of ["", "-", undefined, { toString: () => "" }, () => ""]) {
                line(() => [text.replace(pattern, by), pattern.lastIndex]);
                line(() => [pattern[Symbol.replace]({ toString: () => text }, by), pattern.lastIndex]);
            }
            line(() => [text.replaceAll(pattern, ""), pattern.lastIndex]);
        }
    }
    const execs = [
        () => null, () => 5, () => { throw new RangeError(); }, 7,
        function () { this.n = (this.n ?? 0) + 1; return this.n > 3 ? null : { 0: "ab", index: this.n * 2 }; },
        function () { this.n = (this.n ?? 0) + 1; return this.n > 3 ? null : { 0: "b", index: -this.n, length: 1 }; },
    ];
    for (const exec of execs) {
        for (const flags of ["", "g"]) {
            line(() => "ababababab".replace(Object.assign(new RegExp("b", flags), { exec }), ""));
            line(() => RegExp.prototype[Symbol.replace].call({ exec, flags, lastIndex: 3 }, "ababababab", ""));
        }
    }
    line(() => "abab".replace(Object.freeze(/b/g), ""));
    line(() => RegExp.prototype[Symbol.replace].call(5, "a", ""));
    line(() => /a/[Symbol.replace](Symbol.iterator, ""));
    for (const strings of [{ raw: "xyz" }, { raw: ["a", "b"] }, { raw: { length: 2, 0: 7 } }, {}, null, undefined]) {
        line(() => String.raw(strings, 1, 2, 3));
    }

    // -------------------------------------------------------------------
    // Large numbers

    const integers = [0n, 1n, -1n, 7n, 255n, -256n, 10n ** 40n, 10n ** 40n - 1n, -(3n ** 200n), Object(12345678901234567890n)];
    for (const integer of integers) {
        for (const radix of [undefined, 2, 3, 10, 16, 32, 36, 1, 37, "7", null, NaN]) {
            line(() => integer.toString(radix));
        }
        line(() => integer.toLocaleString());
    }
    line(() => (7n ** 20000n).toString() + (-(7n ** 20000n)).toString(9));
    for (const value of [1, "1", null, undefined, {}]) line(() => BigInt.prototype.toString.call(value));

    // -------------------------------------------------------------------
    // JSON, sets, iterators

    const circle = [];
    circle[0] = circle;
    const values = [
        undefined, null, 1n, Object(1n), circle, () => 1, Symbol.iterator, "text", [1, , undefined, () => 1],
        { a: [1], b: new Date(0), c: undefined, d: { toJSON: (key) => key + "!" } },
        [new Number(3), new String("x"), new Boolean(false)], new Proxy({ a: 1 }, {}), { ["__proto__"]: 1 },
        { b: { a: 1, b: 2 }, a: 2 }, { toJSON: () => undefined },
    ];
    for (const value of values) {
        for (const replacer of [undefined, null, ["b", "a"], (key, value) => (key === "a" ? undefined : value), 7]) {
            line(() => JSON.stringify(value, replacer));
            line(() => JSON.stringify(value, replacer, "--"));
        }
    }
    const others = [
        new Set([2, 3]), new Map([[1, 2]]), { size: 2, has: (x) => x === 1, keys: () => [1, 9].values() },
        { size: NaN }, { size: 1, has: 1 }, null, 5, [1], { size: 1, has: () => true, keys: () => 5 },
        { size: 1, has() { return this.size === 1; }, keys() { return { next: () => ({ done: true }) }; } },
    ];
    for (const method of ["union", "intersection", "difference", "symmetricDifference", "isSubsetOf", "isSupersetOf", "isDisjointFrom"]) {
        for (const other of others) {
            line(() => {
                const result = new Set([1, 2])[method](other);
                return result instanceof Set ? [...result] : result;
            });
        }
    }
    for (const count of [0, 2, -1, NaN, 1e9, "1"]) line(() => [1, 2, 3].values().drop(count).toArray());
    line(() => Array(3000).fill(1).values().drop(2999).toArray());

    // -------------------------------------------------------------------
    // The properties of the guards

    const objects = [
        Array.prototype, String.prototype, String, Set.prototype, JSON, Function.prototype, Iterator.prototype,
        BigInt.prototype, RegExp.prototype,
        Object.getPrototypeOf(Uint8Array.prototype),
    ];
    for (const object of objects) {
        for (const key of Reflect.ownKeys(object)) {
            const { value: f, ...rest } = Object.getOwnPropertyDescriptor(object, key);
            if (typeof f !== "function") continue;
            const { name, length } = f;
            const own = Object.getOwnPropertyNames(f).sort();
            line(() => [String(key), name, length, rest, "prototype" in f, own, f.toString()]);
            // A guard is a constructor only if the engine's function is.
            if (key !== "constructor") line(() => Reflect.construct(Object, [], f));
        }
    }
    return lines;
})()
