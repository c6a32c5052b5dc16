// The engine checks for interruptions between instructions of code and in some of its own
// functions, but not in all: `[].reverse.call({ length: 2 ** 53 - 1 })` would run for years, and so
// may a search for a million characters in ten million. Guards with the same behaviour replace
// these functions, once for each session and before any user code runs:
//
// * Arguments of a usual size go to the engine's own function, and the call is charged. After a
//   million steps, the guard asks the worker whether the code must stop (`charge`).
// * Larger arguments, and those of any length, go to the engine's own function through a proxy. Its
//   traps are code, in which the engine checks (`through`). Or the guard does the work in pieces.
//
// The worker provides `stopped`. `README.md` lists the remaining slow functions.
(function (stopped) {
    "use strict";
    const { Function, Object, Array, String, Set, WeakSet, Proxy, Reflect, Symbol, RangeError } = globalThis;
    const { apply, get, set, has, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf } = Reflect;
    const defineProperty = Reflect.defineProperty;
    // `unbound(f)(self, ..)` calls `f` on `self`, without a list of arguments.
    const { bind, call: callOf } = Function.prototype;
    const unbound = (f) => apply(bind, callOf, [f]);
    const isArray = Array.isArray;
    const { min, max, floor, trunc, log2 } = globalThis.Math;
    const spreadable = Symbol.isConcatSpreadable;

    // Both take a few hundredths of a second.
    const LONGEST_ARRAY = 4e6;
    const WORK = 1e7;
    const LONGEST_TEXT = 1e6;
    const BITS = 3e4;
    const LARGEST = 1n << 30000n;
    // Texts of at most this length need no further check.
    const SHORT = 100;
    // If an array has a longer text, `compareTexts` compares its items, and charges.
    const LONG = 1000;
    // A million steps take some milliseconds.
    const STEPS = 1e6;

    let work = 0;
    // Charges for steps. A step takes some nanoseconds.
    function charge(steps) {
        work += steps;
        if (work > STEPS) {
            work = 0;
            // The engine checks once in ten thousand turns of a loop, and ends the code.
            if (stopped()) for (let at = 0; at < 20000; at++);
        }
    }

    // ---------------------------------------------------------------------
    // Guards look like the engine's own functions

    const guards = new WeakSet();
    const isGuard = WeakSet.prototype.has;
    const functionText = Function.prototype.toString;

    function replace(object, name, guard) {
        const found = getOwnPropertyDescriptor(object, name);
        // This engine does not have the function.
        if (!found) return;
        const native = found.value;
        const f = guard(native);
        for (const key of ["name", "length"]) {
            defineProperty(f, key, getOwnPropertyDescriptor(native, key));
        }
        guards.add(f);
        defineProperty(object, name, { ...found, value: f });
    }

    replace(Function.prototype, "toString", (native) => ({
        toString() {
            if (typeof this === "function" && apply(isGuard, guards, [this])) {
                return `function ${getOwnPropertyDescriptor(this, "name")?.value ?? ""}() {\n    [native code]\n}`;
            }
            return apply(native, this, []);
        },
    }).toString);

    // ---------------------------------------------------------------------
    // Arrays and array-like objects

    function isObject(value) {
        return value !== null && (typeof value === "object" || typeof value === "function");
    }

    // A proxy that charges for each access. The object's getters and setters see the object itself.
    function through(object, cost) {
        return new Proxy(object, {
            get(target, key) {
                charge(cost);
                return get(target, key, target);
            },
            set(target, key, value) {
                charge(cost);
                return set(target, key, value, target);
            },
            has(target, key) {
                charge(cost);
                return has(target, key);
            },
            deleteProperty(target, key) {
                charge(cost);
                return deleteProperty(target, key);
            },
            defineProperty(target, key, descriptor) {
                charge(cost);
                return defineProperty(target, key, descriptor);
            },
        });
    }

    function isUsual(value) {
        return isArray(value) && value.length <= LONGEST_ARRAY;
    }

    function carefully(native, object, list, cost) {
        if (object === null || object === undefined) return apply(native, object, list);
        const target = Object(object);
        const proxy = through(target, cost);
        const result = apply(native, proxy, list);
        return result === proxy ? target : result;
    }

    for (const name of ["reverse", "splice", "copyWithin", "fill", "join", "toLocaleString", "slice", "shift", "unshift"]) {
        // The engine moves an array's items in one piece.
        const cost = name === "shift" || name === "unshift" ? 1 / 16 : 1;
        replace(Array.prototype, name, (native) => ({
            f(...list) {
                if (isUsual(this)) {
                    charge(this.length * cost);
                    return apply(native, this, list);
                }
                return carefully(native, this, list, 1);
            },
        }).f);
    }

    for (const name of ["indexOf", "lastIndexOf", "includes"]) {
        replace(Array.prototype, name, (native) => ({
            f(...list) {
                // Each comparison of two texts may read both to their ends.
                const cost = typeof list[0] === "string" ? 1 + list[0].length / 16 : 1;
                if (isUsual(this) && this.length * cost <= WORK) {
                    charge(this.length * cost);
                    return apply(native, this, list);
                }
                return carefully(native, this, list, cost);
            },
        }).f);
    }

    const some = Array.prototype.some;
    const isLong = (value) => typeof value === "string" && value.length > LONG;
    for (const name of ["sort", "toSorted"]) {
        replace(Array.prototype, name, (native) => ({
            f(compare) {
                if (isUsual(this)) {
                    charge(this.length);
                    if (compare !== undefined || !apply(some, this, [isLong])) {
                        return apply(native, this, [compare]);
                    }
                    return apply(native, this, [compareTexts]);
                }
                return carefully(native, this, [compare], 1);
            },
        }).f);
    }

    // The engine's order if the caller gives no function.
    function compareTexts(one, other) {
        const [a, b] = [`${one}`, `${other}`];
        charge(min(a.length, b.length) / 4);
        return a < b ? -1 : a > b ? 1 : 0;
    }

    replace(Array.prototype, "concat", (native) => ({
        concat(...list) {
            if (this === null || this === undefined) return apply(native, this, list);
            let sum = 0;
            const all = [Object(this), ...list];
            for (let at = 0; at < all.length; at++) {
                const value = all[at];
                if (!isObject(value)) continue;
                if (isArray(value)) sum += value.length;
                else if (value[spreadable]) sum = Infinity;
            }
            if (sum <= LONGEST_ARRAY) {
                charge(sum);
                return apply(native, this, list);
            }
            for (let at = 0; at < all.length; at++) {
                const value = all[at];
                if (isObject(value) && (value[spreadable] ?? isArray(value))) all[at] = through(value, 1);
            }
            const [first, ...others] = all;
            return apply(native, first, others);
        },
    }).concat);

    const slice = Array.prototype.slice;
    // An array may contain the same array many times, so that flattening a few arrays takes years.
    function flatten(object, depth, map, self) {
        const target = Object(object);
        const length = toLength(target.length);
        // An empty array of the class that the language requires.
        const result = apply(slice, target, [0, 0]);
        let count = 0;
        const add = (value) => {
            const descriptor = { value, writable: true, enumerable: true, configurable: true };
            if (!defineProperty(result, count, descriptor)) throw new TypeError("cannot define an item");
            count++;
        };
        const walk = (source, length, depth) => {
            for (let at = 0; at < length; at++) {
                if (!has(source, at)) continue;
                let value = source[at];
                if (map && source === target) value = apply(map, self, [value, at, target]);
                if (depth > 0 && isArray(value)) walk(value, value.length, depth - 1);
                else add(value);
            }
        };
        walk(target, length, depth);
        return result;
    }

    function toInteger(value) {
        const number = trunc(+value);
        return number !== number ? 0 : number;
    }

    function toLength(value) {
        return min(max(toInteger(value), 0), Number.MAX_SAFE_INTEGER);
    }

    const { TypeError, Number } = globalThis;
    replace(Array.prototype, "flat", (native) => ({
        flat(depth) {
            if (this === null || this === undefined) return apply(native, this, []);
            return flatten(this, depth === undefined ? 1 : toInteger(depth));
        },
    }).flat);
    replace(Array.prototype, "flatMap", (native) => ({
        flatMap(map, self) {
            if (this === null || this === undefined || typeof map !== "function") return apply(native, this, [map, self]);
            return flatten(this, 1, map, self);
        },
    }).flatMap);

    const typed = getPrototypeOf(Uint8Array.prototype);
    const typedLength = getOwnPropertyDescriptor(typed, "length").get;
    const lengthOf = (value) => (ArrayBuffer.isView(value) && value instanceof TypedArray ? apply(typedLength, value, []) : 0);
    const TypedArray = typed.constructor;
    for (const name of ["fill", "indexOf", "lastIndexOf", "includes", "reverse", "copyWithin", "sort"]) {
        replace(typed, name, (native) => ({
            f(...list) {
                charge(lengthOf(this) / 4);
                return apply(native, this, list);
            },
        }).f);
    }
    replace(typed, "set", (native) => ({
        f(source, ...list) {
            // The source may be any array-like object, but at most as long as this.
            charge(lengthOf(this) / 4);
            return apply(native, this, [source, ...list]);
        },
    }).f);

    // ---------------------------------------------------------------------
    // Texts

    const { indexOf, lastIndexOf, substring, slice: cut } = String.prototype;

    // The first place of `wanted` in the text, at or after `from`. A long search is done in pieces.
    function find(text, wanted, from) {
        if (text.length * wanted.length <= WORK) {
            charge((text.length - from) / 4);
            return apply(indexOf, text, [wanted, from]);
        }
        const last = text.length - wanted.length;
        const piece = max(1, floor(WORK / wanted.length));
        for (let at = from; at <= last; at += piece) {
            charge(piece * wanted.length / 4);
            const found = apply(indexOf, apply(substring, text, [at, at + piece + wanted.length - 1]), [wanted]);
            if (found >= 0) return at + found;
        }
        return -1;
    }

    const isShortText = (value) => typeof value === "string" && value.length <= SHORT;

    // May the engine's own function do the search? If so, charges for it.
    function isShort(text, wanted) {
        if (text.length * wanted.length > WORK) return false;
        charge(text.length / 4);
        return true;
    }

    // Converts objects to texts once each, and in order.
    const asText = (value) => (value === null || value === undefined || typeof value === "string" ? value : `${value}`);
    const isRegExp = (value) => isObject(value) && (value[Symbol.match] !== undefined ? !!value[Symbol.match] : value instanceof RegExp);
    const RegExp = globalThis.RegExp;

    replace(String.prototype, "indexOf", (native, call = unbound(native)) => ({
        f(wanted, from) {
            if (isShortText(this) && isShortText(wanted)) return call(this, wanted, from);
            const text = asText(this);
            if (text === null || text === undefined) return apply(native, text, [wanted, from]);
            wanted = `${wanted}`;
            if (isShort(text, wanted)) return apply(native, text, [wanted, from]);
            return find(text, wanted, min(max(toInteger(from), 0), text.length));
        },
    }).f);
    replace(String.prototype, "includes", (native, call = unbound(native)) => ({
        f(wanted, from) {
            if (isShortText(this) && isShortText(wanted)) return call(this, wanted, from);
            const text = asText(this);
            if (text === null || text === undefined || isRegExp(wanted)) return apply(native, text, [wanted, from]);
            wanted = `${wanted}`;
            if (isShort(text, wanted)) return apply(native, text, [wanted, from]);
            return find(text, wanted, min(max(toInteger(from), 0), text.length)) >= 0;
        },
    }).f);
    replace(String.prototype, "lastIndexOf", (native) => ({
        f(wanted, from) {
            const text = asText(this);
            if (text === null || text === undefined) return apply(native, text, [wanted, from]);
            wanted = `${wanted}`;
            if (isShort(text, wanted)) return apply(native, text, [wanted, from]);
            const number = +from;
            const last = text.length - wanted.length;
            const piece = max(1, floor(WORK / wanted.length));
            let at = number !== number ? last : min(max(trunc(number), 0), last);
            for (; at >= 0; at -= piece) {
                charge(piece * wanted.length / 4);
                const begin = max(0, at - piece + 1);
                const found = apply(lastIndexOf, apply(substring, text, [begin, at + wanted.length]), [wanted]);
                if (found >= 0) return begin + found;
            }
            return -1;
        },
    }).f);
    // Does the value itself define how to split or replace, as a regular expression does?
    const decides = (value, symbol) => isObject(value) && value[symbol] !== undefined && value[symbol] !== null;
    const item = (value) => ({ value, writable: true, enumerable: true, configurable: true });

    replace(String.prototype, "split", (native) => ({
        f(separator, limit) {
            const text = asText(this);
            if (text === null || text === undefined || separator === undefined || decides(separator, Symbol.split)) {
                return apply(native, this, [separator, limit]);
            }
            separator = `${separator}`;
            if (isShort(text, separator)) return apply(native, text, [separator, limit]);
            const most = limit === undefined ? 2 ** 32 - 1 : limit >>> 0;
            const parts = [];
            let from = 0;
            for (let at; parts.length < most && (at = find(text, separator, from)) >= 0; from = at + separator.length) {
                defineProperty(parts, parts.length, item(apply(substring, text, [from, at])));
            }
            if (parts.length < most) defineProperty(parts, parts.length, item(apply(cut, text, [from])));
            return parts;
        },
    }).f);

    for (const [name, all] of [["replace", false], ["replaceAll", true]]) {
        replace(String.prototype, name, (native) => ({
            f(pattern, by) {
                if (this === null || this === undefined || decides(pattern, Symbol.replace)) {
                    return apply(native, this, [pattern, by]);
                }
                const text = asText(this);
                pattern = `${pattern}`;
                if (isShort(text, pattern)) return apply(native, text, [pattern, by]);
                if (typeof by !== "function") by = `${by}`;
                let result = "";
                let from = 0;
                for (let at; (at = find(text, pattern, from)) >= 0; ) {
                    const instead = typeof by === "function" ? `${by(pattern, at, text)}` : expand(by, text, pattern, at);
                    result += apply(substring, text, [from, at]) + instead;
                    from = at + pattern.length;
                    if (!all) break;
                }
                return result + apply(cut, text, [from]);
            },
        }).f);
    }

    // Expands `$$`, `$&`, `` $` `` and `$'` in a replacement text.
    function expand(by, text, pattern, at) {
        let result = "";
        let from = 0;
        for (let dollar; (dollar = find(by, "$", from)) >= 0; ) {
            result += apply(substring, by, [from, dollar]);
            from = dollar + 2;
            switch (by[dollar + 1]) {
                case "$": result += "$"; break;
                case "&": result += pattern; break;
                case "`": result += apply(substring, text, [0, at]); break;
                case "'": result += apply(cut, text, [at + pattern.length]); break;
                default: result += "$"; from = dollar + 1;
            }
        }
        return result + apply(cut, by, [from]);
    }

    for (const name of ["startsWith", "endsWith", "isWellFormed"]) {
        replace(String.prototype, name, (native) => ({
            f(...list) {
                if (typeof this === "string") charge(this.length / 16);
                return apply(native, this, list);
            },
        }).f);
    }

    // `trimLeft` and `trimRight` are other names of two of them.
    for (const [name, alias] of [["trim", "trim"], ["trimStart", "trimLeft"], ["trimEnd", "trimRight"]]) {
        const { [alias]: other, [name]: before } = String.prototype;
        replace(String.prototype, name, (native) => ({
            f() {
                if (typeof this === "string") charge(this.length / 4);
                return apply(native, this, []);
            },
        }).f);
        if (other === before) {
            const found = getOwnPropertyDescriptor(String.prototype, alias);
            defineProperty(String.prototype, alias, { ...found, value: String.prototype[name] });
        }
    }

    // The engine removes all matches in one piece, without an allocation.
    replace(RegExp.prototype, Symbol.replace, (native) => ({
        f(text, by) {
            if (!isObject(this)) return apply(native, this, [text, by]);
            text = `${text}`;
            if (typeof by !== "function") by = `${by}`;
            if (by === "" && text.length > LONGEST_TEXT) return remove(this, text);
            charge(text.length * 20);
            return apply(native, this, [text, by]);
        },
    }).f);

    function remove(pattern, text) {
        const flags = `${pattern.flags}`;
        const includes = (flag) => apply(indexOf, flags, [flag]) >= 0;
        const all = includes("g");
        const whole = includes("u") || includes("v");
        if (all) pattern.lastIndex = 0;
        let result = "";
        let from = 0;
        for (;;) {
            const found = execute(pattern, text);
            if (found === null) break;
            const match = `${found[0]}`;
            const at = max(min(toInteger(found.index), text.length), 0);
            charge(STEPS / 1e4 + max(at - from, 0));
            if (at >= from) {
                result += apply(substring, text, [from, at]);
                from = at + match.length;
            }
            if (!all) break;
            if (match === "") pattern.lastIndex = after(text, toLength(pattern.lastIndex), whole);
        }
        return result + apply(cut, text, [from]);
    }

    const { exec } = RegExp.prototype;
    function execute(pattern, text) {
        const f = pattern.exec;
        if (typeof f !== "function") return apply(exec, pattern, [text]);
        const found = apply(f, pattern, [text]);
        if (found !== null && !isObject(found)) throw new TypeError("not an object");
        return found;
    }

    // The next place; with `whole`, not within a character of two units.
    const { codePointAt } = String.prototype;
    function after(text, at, whole) {
        return at + (whole && apply(codePointAt, text, [at]) > 0xffff ? 2 : 1);
    }

    // The engine sorts marks in a row one by one. Unicode's own limit for streams is 30.
    // The expression is made on demand, as that takes as long as the rest of this file.
    let marks;
    function refuseMarks(text) {
        if (typeof text !== "string" || text.length < 500) return;
        charge(text.length);
        marks ??= new RegExp("\\p{M}{500}", "u");
        if (apply(exec, marks, [text])) throw new RangeError("more than 500 combining marks in a row");
    }
    replace(String.prototype, "normalize", (native) => ({
        f(form) {
            const text = asText(this);
            refuseMarks(text);
            return apply(native, text, [form]);
        },
    }).f);
    replace(String.prototype, "localeCompare", (native) => ({
        f(other, ...list) {
            const text = asText(this);
            if (text === null || text === undefined) return apply(native, text, [other]);
            other = `${other}`;
            refuseMarks(text);
            refuseMarks(other);
            return apply(native, text, [other, ...list]);
        },
    }).f);

    replace(String, "raw", (native) => ({
        f(strings, ...values) {
            if (strings === null || strings === undefined) return apply(native, String, [strings]);
            const raw = Object(strings).raw;
            if (isUsual(raw) || !isObject(raw)) return apply(native, String, [{ raw }, ...values]);
            return apply(native, String, [{ raw: through(raw, 1) }, ...values]);
        },
    }).f);

    // The engine takes time that is quadratic in the number of digits. (If the radix is a power of
    // two, the time is linear.)
    const { BigInt } = globalThis;
    const { valueOf: integerOf } = BigInt.prototype;
    const { padStart } = String.prototype;
    replace(BigInt.prototype, "toString", (native) => ({
        f(radix) {
            const value = apply(integerOf, this, []);
            if (value < LARGEST && value > -LARGEST) return apply(native, value, [radix]);
            const base = radix === undefined ? 10 : toInteger(radix);
            const isFast = (base & (base - 1)) === 0;
            if (isFast || base < 2 || base > 36) return apply(native, value, [base]);
            return value < 0n ? "-" + digits(-value, base, native) : digits(value, base, native);
        },
    }).f);

    // The last digits first, as many at a time as take a millisecond.
    function digits(value, base, native) {
        const count = floor(BITS / log2(base));
        const power = BigInt(base) ** BigInt(count);
        let text = "";
        while (value >= power) {
            // A division by the power takes some hundredths of a second.
            charge(STEPS);
            const rest = value / power;
            charge(STEPS);
            const part = apply(native, value - rest * power, [base]);
            text = apply(padStart, part, [count, "0"]) + text;
            value = rest;
        }
        return apply(native, value, [base]) + text;
    }

    // An object in many places of a value, without a cycle, is written many times. The engine
    // checks in a function that it calls for each value.
    const same = (_, value) => value;
    replace(globalThis.JSON, "stringify", (native) => ({
        f(value, replacer, space) {
            const list = isObject(value) && !isObject(replacer) ? same : replacer;
            return apply(native, globalThis.JSON, [value, list, space]);
        },
    }).f);

    // ---------------------------------------------------------------------
    // Iterators without an end

    function stepping(iterator) {
        const next = iterator.next;
        return {
            next() {
                return apply(next, iterator, []);
            },
            get return() {
                const f = iterator.return;
                return f === undefined || f === null ? f : () => apply(f, iterator, []);
            },
            __proto__: null,
        };
    }

    if (globalThis.Iterator) {
        replace(globalThis.Iterator.prototype, "drop", (native) => ({
            f(count) {
                if (!isObject(this) || !(count > 1000)) return apply(native, this, [count]);
                return apply(native, stepping(this), [count]);
            },
        }).f);
    }

    const sizeOfSet = getOwnPropertyDescriptor(Set.prototype, "size").get;
    // -1 if it is no set.
    const sizeOf = (value) => {
        try {
            return apply(sizeOfSet, value, []);
        } catch {
            return -1;
        }
    };
    for (const name of ["union", "intersection", "difference", "symmetricDifference", "isSubsetOf", "isSupersetOf", "isDisjointFrom"]) {
        replace(Set.prototype, name, (native) => ({
            f(other) {
                const size = sizeOf(other);
                if (size >= 0) charge((size + sizeOf(this)) * 10);
                if (!isObject(other) || size >= 0) return apply(native, this, [other]);
                const record = new Proxy(other, {
                    get(target, key) {
                        const value = get(target, key, target);
                        if (typeof value !== "function") return value;
                        if (key === "has") return (item) => apply(value, target, [item]);
                        return () => {
                            const iterator = apply(value, target, []);
                            return isObject(iterator) ? stepping(iterator) : iterator;
                        };
                    },
                });
                return apply(native, this, [record]);
            },
        }).f);
    }
})
