//! Random programs that are full of the word, in all of its meanings.

use proptest::prelude::*;

fn expression() -> impl Strategy<Value = String> {
    // Pieces that are rarely correct are rare, so that most programs compile.
    let leaf = prop_oneof![
        12 => prop::sample::select(vec!["x", "1", "f(y)", "[]"]),
        6 => prop::sample::select(vec![
            "'await y'", "`await`", "x.await", "/await 1/", "/[/]await z/g", "/* await */ 2",
            "\"//\"", "({ await: 1 })", "x?.await / 2",
        ]),
        1 => prop::sample::select(vec!["await", "async", "x++", "await / 2"]),
    ];
    leaf.prop_map(str::to_owned)
        .prop_recursive(5, 16, 2, |inner| {
            let one = inner.clone();
            let two = (inner.clone(), inner.clone());
            prop_oneof![
                12 => one.clone().prop_map(|e| format!("await {e}")),
                6 => one.clone().prop_map(|e| format!("await ({e})")),
                6 => one.clone().prop_map(|e| format!("await +{e}")),
                2 => one.clone().prop_map(|e| format!("await - {e}")),
                2 => one.clone().prop_map(|e| format!("await [{e}]")),
                2 => one.clone().prop_map(|e| format!("await `${{{e}}}`")),
                1 => one.clone().prop_map(|e| format!("{e}.a[0]")),
                1 => one.clone().prop_map(|e| format!("{e}++")),
                1 => one.clone().prop_map(|e| format!("new {e}")),
                1 => one.clone().prop_map(|e| format!("{e} ** 2")),
                1 => two.clone().prop_map(|(a, b)| format!("{a} = {b}")),
                1 => two.clone().prop_map(|(a, b)| format!("{a} ||= {b}")),
                1 => two.clone().prop_map(|(a, b)| format!("{a}\n{b}")),
                2 => two.clone().prop_map(|(a, b)| format!("{a} ?? {b}")),
                1 => two.clone().prop_map(|(a, b)| format!("{a} || {b}")),
                1 => two.clone().prop_map(|(a, b)| format!("{a}, {b}")),
                1 => two.clone().prop_map(|(a, b)| format!("{a} ** {b}")),
                2 => one.clone().prop_map(|e| format!("await +{e} * 3 ** 2")),
                4 => one.clone().prop_map(|e| format!("await\n{e}")),
                2 => one.clone().prop_map(|e| format!("await // await\n/* x\n*/ {e}")),
                1 => one.clone().prop_map(|e| format!("await\n(\n{e})")),
                1 => one.clone().prop_map(|e| format!("await\n-{e}")),
                2 => one.clone().prop_map(|e| format!("typeof {e}")),
                1 => one.clone().prop_map(|e| format!("delete {e}.y")),
                1 => one.clone().prop_map(|e| format!("void {{ a: {e} }}")),
                2 => two.clone().prop_map(|(a, b)| format!("({{ x = {a}, y: z = {b} }} = x)")),
                1 => two.clone().prop_map(|(a, b)| format!("({{ [{a}]: x = {b} }} = x)")),
                1 => two.clone().prop_map(|(a, b)| format!("(({{ x = {a} }}) => {b})")),
                1 => two.clone().prop_map(|(a, b)| format!("({{ m({{ x = {a} }}, [y = {b}]) {{}} }})")),
                1 => one.clone().prop_map(|e| format!("await {{ a: {e} }}")),
                4 => two.clone().prop_map(|(a, b)| format!("f({{ a: {a}, 'b': {b} }})")),
                2 => two.clone().prop_map(|(a, b)| format!(
                    "({{ x, [{a}]: {b}, async m(p = {a}) {{ {b} }}, y: {b} }})"
                )),
                1 => one.clone().prop_map(|e| format!("({{ a: {e} }} = x)")),
                1 => two.clone().prop_map(|(a, b)| format!("(({{ a: x = {a} }}) => {b})")),
                1 => one.clone().prop_map(|e| format!("!{e}")),
                1 => one.clone().prop_map(|e| format!("f({e})")),
                1 => one.clone().prop_map(|e| format!("[...[{e}]]")),
                1 => one.clone()
                    .prop_map(|e| format!("`a ${{{e}}} await ${{{e}}}`")),
                1 => one.clone().prop_map(|e| format!("({e})")),
                6 => one.clone().prop_map(|e| format!("(async () => {e})")),
                2 => one.clone().prop_map(|e| format!("x => {e}")),
                1 => two.clone().prop_map(|(a, b)| format!("x ? y => {a} : {b}")),
                2 => two.clone().prop_map(|(a, b)| format!("x ? () => {{ {a} }} : {b}")),
                1 => two.clone().prop_map(|(a, b)| format!("async x => x ? y => {{ {a} }} : {b}")),
                1 => one.clone().prop_map(|e| format!("(class extends {e} {{}})")),
                6 => one.clone()
                    .prop_map(|e| format!("(async (a = {e}) => {{ return {e} }})")),
                1 => one.clone().prop_map(|e| format!("((a = {e}) => a)")),
                6 => one.clone()
                    .prop_map(|e| format!("(async function () {{ {e} }})")),
                1 => one.clone()
                    .prop_map(|e| format!("(function* (a = {e}) {{ {e} }})")),
                1 => one.clone().prop_map(|e| format!(
                    "({{ async m() {{ {e} }}, get await() {{ return {e} }} }})"
                )),
                3 => two.clone().prop_map(|(a, b)| format!(
                    "({{ async m(x) {{ {a} }}, get x() {{ return {b} }} }})"
                )),
                3 => one.clone().prop_map(|e| format!(
                    "(class {{ async m() {{ if (x) {{ {e} }} }} n() {{ return 2 }} }})"
                )),
                1 => one.clone().prop_map(|e| format!(
                    "(class {{ x = {e}; static async await() {{ {e} }} }})"
                )),
                2 => two.clone().prop_map(|(a, b)| format!("(class {{ [{a}]() {{ {b} }} }})")),
                1 => two.clone().prop_map(|(a, b)| format!(
                    "(class A {{ x = {a}; [{b}] = {a}\n[{b}]\nasync m() {{ {b} }} [{a}]() {{}} }})"
                )),
                1 => two.clone().prop_map(|(a, b)| format!(
                    "(class extends x {{ static [{a}] = {b}; static {{ {b} }} [{a}]\n(p = {b}) {{ {a} }} }})"
                )),
                1 => one.clone().prop_map(|e| format!("({e}).await")),
                1 => two.clone().prop_map(|(a, b)| format!("{a} / {b}")),
                1 => two.clone().prop_map(|(a, b)| format!("{a} + {b} / g")),
                1 => two.clone().prop_map(|(a, b)| format!("({a}) / ({b}) / 2")),
                1 => two.clone().prop_map(|(a, b)| format!("{a} ? {b} : {a}")),
                1 => two.prop_map(|(a, b)| format!("{a} in {b}")),
            ]
        })
}

pub(super) fn statement() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        12 => expression().prop_map(|e| format!("{e};")),
        2 => expression().prop_map(|e| format!("{e}\n")),
        2 => expression().prop_map(|e| format!("var y = {e}")),
        2 => expression().prop_map(|e| format!("const {{ a = {e}, b: [c] }} = {e};")),
        2 => expression().prop_map(|e| format!("let {{ [{e}]: a, b: {{ c = {e} }} }} = x, d = {e}\n")),
        1 => expression().prop_map(|e| format!("var [a = {e}, {{ b = {e} }} = {e}] = x;")),
        1 => expression().prop_map(|e| format!("let\n{{ {e} }}")),
        1 => expression().prop_map(|e| format!("of\n{{ {e} }}")),
        2 => expression().prop_map(|e| format!("f()\n{{ {e} }}")),
        2 => expression().prop_map(|e| format!("x => {e}\n{{ {e} }}")),
        2 => expression().prop_map(|e| format!("var q = w => {e}\nq({e})")),
        1 => expression().prop_map(|e| format!("class D extends {{}}\n{{ x = {e} }}")),
        1 => expression().prop_map(|e| format!("class D extends class {{}}\n{{ x = {e} }}")),
        1 => expression().prop_map(|e| format!("class D extends {e}\n{{ m() {{}} x = {e} }}")),
        1 => expression().prop_map(|e| format!("class D {{}} {{ {e} }}")),
        2 => expression().prop_map(|e| format!("class D extends x {{ m() {{}} [{e}]() {{}} ; [{e}] = {e} }}")),
        1 => expression().prop_map(|e| format!("class D {{ x = {{}}\n[{e}]\n[{e}]() {{}} }}")),
        1 => expression().prop_map(|e| format!("var q = async x => class Foo\nextends ({e}) {{}}\n")),
        1 => expression().prop_map(|e| format!("var q = async x => class Foo\n{{}} || {e}\n")),
        1 => expression().prop_map(|e| format!("await +class A\nextends {e} {{}} ** 2\n")),
        2 => expression().prop_map(|e| format!("if (x) y; else ({e}) = 1;")),
        1 => expression().prop_map(|e| format!("if (x) y; else (a = {e}) => a;")),
        1 => expression().prop_map(|e| format!("do ({e}.y) = 1; while (x)\n")),
        2 => expression().prop_map(|e| format!("for (const {{ a = {e} }} of {e}) f(a);")),
        2 => expression().prop_map(|e| format!("throw {e};")),
        2 => expression().prop_map(|e| format!("throw {{ a: {e} }};")),
        2 => expression().prop_map(|e| format!("await\n{e}\n")),
        2 => expression().prop_map(|e| format!("var y = await\n{e}\n")),
        1 => expression().prop_map(|e| format!("let w = await\n{e}, y\n")),
        1 => expression().prop_map(|e| format!("await\nlabel: {e};")),
        1 => expression().prop_map(|e| format!("2 ** {e};")),
        1 => expression().prop_map(|e| format!("x = y ? w => {e} : {e};")),
        2 => expression().prop_map(|e| format!("for await (const v of {e}) {e};")),
        2 => expression().prop_map(|e| format!("for ({e} of y) f();")),
        1 => expression().prop_map(|e| format!("[{e}] = y;")),
        1 => expression().prop_map(|e| format!("(class extends f({e}) {{ [{e}]() {{}} }})")),
        2 => expression().prop_map(|e| format!("for (await of {e}) {e};")),
        2 => expression().prop_map(|e| format!("for (var await in {e}) {e};")),
        2 => expression().prop_map(|e| format!("do {e}\nwhile ({e})")),
        2 => expression().prop_map(|e| format!("// {e}\n")),
        2 => expression().prop_map(|e| format!("/* {e} */")),
        1 => Just("var await = 3".to_owned()),
        1 => Just("await: 1;".to_owned()),
        1 => Just("function await(x) {}".to_owned()),
        1 => Just("class await {}".to_owned()),
        1 => Just("await\nx".to_owned()),
        1 => Just("x\n/await 1/g\n".to_owned()),
        1 => Just("for (;;) { break\n/await 'x/.test(y) }".to_owned()),
        1 => Just("z: for (;;) { continue z\n/await 'x/.test(y) }".to_owned()),
        1 => Just("async function g() { for await (const v of x) /await 'x/.test(v) }".to_owned()),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        let body = prop::collection::vec(inner, 1..3).prop_map(|all| all.join("\n"));
        (body, expression(), 0..14).prop_map(|(body, e, which)| match which {
            0 => format!("{{ {body} }}"),
            1 => format!("if ({e}) {{ {body} }} else {{ {body} }}"),
            2 => format!("for (const v of {e}) {{ {body} }}"),
            3 => format!("async function f(a = {e}) {{ {body} }}"),
            4 => format!("function h() {{ {body} }}"),
            5 => format!("try {{ {body} }} catch {{ {body} }}"),
            6 => {
                format!("switch ({e}) {{ case {e}: {body}\ncase 1: {{ {body} }} default: {body} }}")
            }
            7 => format!("var k = async () => {{ {body} }}"),
            8 => format!("label: {{ {body} }}"),
            9 => format!("x => {e}\nof: for (;;) {{ {body} }}"),
            10 => format!("switch (x) {{ case {e} ? y : z: {{ {body} }} case y => {e}: {body} }}"),
            11 => format!("try {{ {body} }} catch ({{ a = {e} }}) {{ {body} }}"),
            12 => format!("async: do {{ {body} }} while ({e})"),
            _ => format!("if ({e}) /await 1/.test({e});\n{body}"),
        })
    })
}
