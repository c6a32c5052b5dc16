//! Clear code by example, and a comparison with the parser for random code.

mod programs;

use proptest::prelude::*;

use super::{super::Parser, Kind, kind};
use programs::statement;

#[test]
fn what_is_clear_takes_no_parser() {
    for code in [
        "await x",
        "let x = await sleep(10).then(() => 20)",
        "const [a] = await f(1), b = 2",
        "for (const x of xs) { if (x) { print(await g(x)) } else { await 'text' } }",
        "f()\nawait g()",
        "print(`a ${await b} c`)",
        "for await (const x of xs) print(x)",
        "a / b; await c / d",
        "x = (1 + 2) / 3; await !y",
        "function f() { return 1 }; await f()",
        "try { await f() } catch (e) { g(e) } finally { h() }",
        "f(async () => { await 1 }); await 2",
        "/[/await]/.test(s); await s",
        "await (1)",
        "await [1]",
        "await `a`",
        "let x = await (f(1)).then(g)[2]`c`\nlet y = 2",
        "x\nawait (1)\n/* a\ncomment */ await (2)\nprint(await (3) + 1, await (4))",
        "if (await (x)) { y } else await (z)",
        "const z = y ? await (x)?.y : await (x) === 1 && await (z) || 2",
        "print(`${await (x)} await`)",
        "async function f() { await (1) } await (2)",
        "await +x",
        "await - 1",
        "let x = y + await -z * 2, [a] = [await +b]",
        "print(await +x)\nif (await -y) { await +1 } else print(`${await -(z)}`)",
        "await + await - await (x)",
        "({ a: await x })",
        "f({ a: g({}), 'b': [{ 1: await (x) }], [c]: await +y })",
        "const o = { x, async m() { await 1 }, y: z ? {} : await (z), ...await (w) }",
        "switch (x) { case 1: { await y } }",
        "switch (x) { case f(y, { a: 1 }): case 'b': default: { const z = 1; await (z) } }",
        "switch (x) { default: /await 'y/.test(z); { await z } }",
        "x = { a: async () => { await 1 }, b: `${await y}` }",
        "y: { await x }",
        "y: z: for (;;) { w: { await (x) } }",
        "x => y\nz: { await w }",
        "x ? y : z\nw: { await x }",
        "x ?? y\nw: { await x }",
        "const { a = await x } = y",
        "const { a = await (x), [await +y]: b, ...c } = z, [d] = w",
        "let { a: { b = await x } } = y",
        "({ a = await x } = y)",
        "({ [await x]: a } = y)",
        "for (const { a = await (x) } of await (y)) f(a)",
        "try { f() } catch ({ a = await x }) {}",
        "await\nx",
        "let x = await\nf(y).z\nlet w = 2",
        "f(await\nx, [await // y\nz])",
        "if (await\n!x) { `${await\n{}}` }",
        "await /* x\n*/ 'y'",
        "for await\n(const x of y) f(x)",
        "await\n(x)",
        "await +x - y ** 2",
        "await +(y ** 2)\nawait -x\nz **= 2",
        "throw await (x)",
        "class C extends f({}) {}\n{ await x }",
        "function f() {} { await x }",
        "x => (y)\n{ await z }",
        "const f = x => y\nconst z = await (f(1))",
        "x => y\nawait z",
        "y: { f(x)\n{ await z } }",
        "throw { a: await x }",
        "typeof await +x",
        "x in await (y)",
        "2 ** 2; await -x",
        "await\n+x",
        "switch (x) { case y ? 1 : 2: { await z } }",
        "switch (x) { case y => z: { await z } }",
        "switch (x) { case 1: y: { await z } }",
        "await\n1",
        "({ [await (x)]: 1 })",
        "(class { [await x]() {} })",
        "class C { y\n[await (z)]() {} }",
        "class C { static [await (x)]() {} }",
        "class C { async *[await (x)]() {} }",
        "class C { x = 1\nm() {} [await (y)] = 2 }",
        "class C { [await (x)]() {} [await +y] = 1; [await z] = [] }",
        "class C extends D { a = {}; async m() { await 1 } [await (x)]\n() { await_ } }",
        "x = { a: class { get b() { return [1] } [`${await (x)}`] = 2 } }",
    ] {
        assert_eq!(kind(code), Some(Kind::Async), "{code}");
    }
    for code in [
        "'await x'",
        "/* await */ 1 // await 1",
        "`await ${1} await`",
        "async function f() { await 1 } f()",
        "const g = async () => { for await (const x of y) { await x } }",
        "x.await; x?.await",
        "/await x/.test('await')",
        "function* g(a) { await (1) }",
        "class_.awaits(awaiting, $await)",
        "({ async m() { await 1 }, get x() { return 2 } })",
        "const f = async x => await x, g = x =>\nf(\nawait (y))",
        "({ a: async x => await y, b: async x => [`${await +y}`, await (z)] })",
        "class C { static async *m(x) { if (x) { await (1) } } }",
        "class C { async m()\n{ await 1 } a = { async m() { await (2) } } }",
        "class C { [(async () => { await 1 })()]() {} }",
        "class C { x = y => [await (z)] }",
    ] {
        assert_eq!(kind(code), Some(Kind::Sync), "{code}");
    }
    for code in [
        "await (1).x = 2",
        "(await (x).y) = 1",
        "++(await (x).y)",
        "(await (x).y)++",
        "[await (x).y] = z",
        "[...await (x).y] = z",
        "for ([await (x).y] of z) f()",
        "for ((await (x).y) of z) f()",
        "for (await (x).y\nof z) f()",
        "for (await (x).y\nin z) f()",
        "(await [x]) = 1",
        "({ a: class extends f(x) { [await z]() {} } })",
        "await [1] += 2",
        "await (1)\n++\nx",
        "await (x) ** 2",
        "await (x) ??= 2",
        "new await (x)",
        "for (await (x) of y) {}",
        "for (await [x] in y) {}",
        "await (x); await: y",
        "await (x) => y",
        "((a = await (x)) => a)",
        "await (await (x)) ** 2",
        "await ()",
        "await (x, ...y)",
        "await (x, )",
        "await +x ** 2",
        "await +x\n** 2",
        "await - -x.y ** 2",
        "await +(x) ** 2",
        "await +x ? y ** 2 : z ** 2; await +function () {} ** 2",
        "({ a = await (x) } = y)",
        "({ [await (x)]: a } = y)",
        "({ a = await (x) }) => y",
        "({ m({ a = await x }) {} })",
        "({ m([a = await x]) {} })",
        "let\n{ await x }",
        "await\nx = 1",
        "await\nx: y",
        "await\nx++",
        "await\nx => y",
        "await\nx ** 2",
        "await\nlet x",
        "await\nthis.x = 1",
        "await\n{ x }",
        "await\n++x",
        "await\n!x",
        "await\nif (x) y",
        "let x = await\ny, z",
        "x ?? await\ny || z",
        "await\nx\nin y",
        "await\nx; await: y",
        "x => y\n.z(await w)",
        "x => y\nin await z",
        "x => this\nawait z",
        "class C extends {}\n{ x = await y }",
        "class C extends await {}\n{ x = await y }",
        "class C extends class {}\n{ x = await y }",
        "class C extends function () {}\n{ x = await y }",
        "f() { await x }",
        "await ++x",
        "await += 1",
        "new await + x",
        "await + 1; await: y",
        "await - x.await",
        "((a = await + x) => a)",
        "({ a: await (x).y } = z)",
        "[{ a: await (x).y }] = z",
        "for ({ a: await (x).y } of z) f()",
        "({ a: await (x) }) => y",
        "({ a: 1, m(x = await (y)) {} })",
        "x ? y => y : await z",
        "const f = async x => x ? () => {} : await g(x)",
        "x => y ? z => {} : await (w)",
        "class X extends await {}",
        "for (;;) { break\n/ await x /.test(s) }",
        "y: for (;;) { continue y\n/ await x /.test(s) }",
        "debugger\n/ await x /.test(s)",
        "async function f() { for await (const x of y) /\"/.test(x) }; await z; /\"}//1",
        "await (x); const f = y => await (z)",
        "({ a: class { x = await y } })",
        "var await = 3; await",
        "({ await: 1 })",
        "({ await() {} })",
        "class C { x = await y }",
        "class C { x = [await y] }",
        "class C { x = {}\n[await (y)] }",
        "class C { x = function () {}\n[await (y)]; z }",
        "class C { x = y\n[await (z)] }",
        "class C { static { [await (x)] } }",
        "class C { m(a = [await (x)]) {} }",
        "class C extends a.b { [await (x)]() {} }",
        "class C { [(class { x = await (y) })]() {} }",
        "(a = class { [await (x)]() {} }) => a",
        "class C { async m(x = await y) {} }",
        "(function (a = await b) {})",
        "if (x) /await 1/.test(y)",
        "const f = async x => class Foo\nextends (await y) {}",
        "const g = async x => class Foo\n{} || await y",
        "const h = async x => class extends Object\n{} || await y",
        "await +class A\nextends Object {} ** 2",
        "if (0) 1; else (await (1).y) = 1",
        "do (await (1).y) = 1; while (0)",
        "if (0) 1; else (a = await (1)) => a",
        "await != 1",
        "for (await of xs) {}",
        "class await {}",
        "größe = 1; await x",
        "await <!-- 1",
    ] {
        assert_eq!(kind(code), None, "{code}");
    }
}

fn agrees(code: &str) -> Result<(), TestCaseError> {
    thread_local! {
        static PARSER: Parser = Parser::default();
    }
    let parsed = PARSER.with(|parser| parser.parse(code));
    let clear = kind(code);
    if let (Some(clear), Ok(parsed)) = (clear, &parsed) {
        prop_assert_eq!(clear, *parsed, "{}", code);
    }
    Ok(())
}

proptest! {
    // (More with `PROPTEST_CASES`.)
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// A clear result agrees with the parser, if that finds a kind.
    #[test]
    fn it_is_what_the_parser_finds(
        all in prop::collection::vec(statement(), 1..3),
        cut in prop::option::weighted(0.3, any::<(prop::sample::Index, prop::sample::Index)>()),
    ) {
        let mut code = all.join("\n");
        if let Some((from, to)) = cut {
            // Damaged: other tokens, other nesting.
            let mut places = [from.index(code.len()), to.index(code.len())];
            places.sort_unstable();
            code.replace_range(places[0]..places[1].min(places[0] + 5), "");
        }
        agrees(&code)?;
    }

    /// The same for pieces in any order.
    #[test]
    fn it_is_what_the_parser_finds_in_a_heap(pieces in prop::collection::vec(
        prop::sample::select(vec![
            "await ", "await", " ", "\n", "x", "1", "(", ")", "[", "]", "{", "}", "`", "${", "'", "/",
            "/*", "*/", "//", "=>", "async ", "function ", "f", "*", "=", ";", ",", ".", "?.", "...",
            "if (x) ", "for (", "of ", "in ", "class ", "let ", "!", "+", "++", "-->", "<!--",
            "() => ", "() {", "yield ", "new ", "\\", "static ", "get ", ":", "{ a: ", "({ ", "do ", "else ", "while (x)", "async x => class Foo\n",
            "break", "continue x", "extends ", "for await (", "await\n", "typeof ", "throw ", "const ", "x: ", "x = ", "??", "await (x)", "await [x]", "await `x`", "await +x", "await -", "==", "&&", "**", "?",
        ]),
        1..14,
    )) {
        agrees(&pieces.concat())?;
    }
}
