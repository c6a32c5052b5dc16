//! The expansion of `#[calls(mirror)]` in the libraries of `tests` and `examples`, compared with
//! their source.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, File, FnArg, ImplItem, ImplItemFn, Item, ItemImpl, Meta, ReceiverKind, ReturnType,
    Type, Visibility,
};

use crate::{
    calls::expand,
    options::{Home, is_named},
};

/// Each with the names of its mirrors.
const LIBRARIES: &[(&str, [&str; 2])] = &[
    (include_str!("../tests/mirror.rs"), ["sync", "aio"]),
    (
        include_str!("../tests/items.rs"),
        ["blocking", "asynchronous"],
    ),
    (
        include_str!("../../examples/skillkit/src/lib.rs"),
        ["blocking", "asynchronous"],
    ),
    (
        include_str!("../../examples/ledger/src/lib.rs"),
        ["blocking", "asynchronous"],
    ),
];

/// Name by name: each public item of the base is in both mirrors, with its docs, generics,
/// arguments and output. Only `async` differs.
#[test]
fn mirrors_have_what_the_base_has() {
    for (source, [blocking, asynchronous]) in LIBRARIES {
        let (written, expanded) = both(source);
        let base = public(&written);
        assert!(base.len() > 3);
        for (module, own, other, awaits) in [
            (blocking, "blocking", "asynchronous", false),
            (asynchronous, "asynchronous", "blocking", true),
        ] {
            let mirror = public(mirror(&expanded, module));
            let has_mark = |function: &ImplItemFn, side: &str| {
                function.attrs.iter().any(|attribute| {
                    is_named(attribute, "only")
                        && attribute.to_token_stream().to_string().contains(side)
                })
            };
            let expected: BTreeMap<_, _> = base
                .iter()
                .filter(|(_, function)| !has_mark(function, other))
                .collect();
            assert_eq!(
                mirror.keys().collect::<Vec<_>>(),
                expected.keys().copied().collect::<Vec<_>>(),
                "in {module}"
            );
            for (name, function) in expected {
                let mirrored = &mirror[name];
                assert_eq!(shape(mirrored), shape(function), "{module}::{name}");
                let is_call = function.sig.asyncness.is_some()
                    || function.attrs.iter().any(|it| is_named(it, "blocking"))
                    || has_mark(function, own);
                let gives_many = shape(function)[3].starts_with("-> Items");
                assert_eq!(
                    mirrored.sig.asyncness.is_some(),
                    awaits && is_call && !gives_many,
                    "{module}::{name}"
                );
            }
        }
    }
}

/// The attributes and the head of a method stay with the public one: docs, attributes for callers,
/// visibility, generics, where clauses and `cfg`.
#[test]
fn the_public_method_keeps_what_is_said_of_it() {
    let source = quote::quote! {
        impl<R: Runtime> Library<R> {
            /// Docs.
            #[doc = "More docs."]
            #[must_use = "for a reason"]
            #[deprecated(note = "use another")]
            #[cfg(feature = "words")]
            #[cfg_attr(docsrs, doc(cfg(feature = "words")), cfg(unix), tracing::instrument)]
            #[allow(clippy::too_many_arguments)]
            #[tracing::instrument]
            pub(in crate::library) async fn find<'a, T, const N: usize>(
                &'a self,
                mut words: [T; N],
                by: impl Fn(&T) -> bool + Send + 'static,
            ) -> Option<T>
            where
                T: Clone + Send + 'static,
            {
                words.into_iter().find(by)
            }
        }
    };
    let expanded = expand(TokenStream::new(), source, Home::Core);
    let expanded: File = syn::parse2(expanded).unwrap();
    let Some(Item::Impl(block)) = expanded.items.first() else {
        panic!("a block");
    };
    let [ImplItem::Fn(public), ImplItem::Fn(body)] = &block.items[..] else {
        panic!("two methods: the public one, and the body");
    };
    assert_eq!(
        attributes(public),
        [
            r##"#[doc=r"Docs."]"##,
            r#"#[doc="Moredocs."]"#,
            r#"#[must_use="forareason"]"#,
            r#"#[deprecated(note="useanother")]"#,
            r#"#[cfg_attr(docsrs,doc(cfg(feature="words")))]"#,
            "#[allow(clippy::too_many_arguments)]",
            r#"#[cfg(feature="words")]"#,
            "#[cfg_attr(docsrs,cfg(unix))]",
        ]
    );
    assert_eq!(
        attributes(body),
        [
            r#"#[cfg(feature="words")]"#,
            "#[cfg_attr(docsrs,cfg(unix))]",
            "#[cfg_attr(docsrs,tracing::instrument)]",
            "#[allow(clippy::too_many_arguments)]",
            "#[tracing::instrument]",
        ]
    );
    let signature = |function: &ImplItemFn| {
        let ImplItemFn { vis, sig, .. } = function;
        quote::quote!(#vis #sig).to_string().replace(' ', "")
    };
    assert_eq!(
        signature(public),
        "pub(incrate::library)fnfind<'a,T,constN:usize,ImplBy:Fn(&T)->bool+Send+'static>\
         (&'aself,words:[T;N],by:ImplBy)->impl::fourway_core::call::Call<Output=Option<T>>+use<R,T,N,ImplBy>\
         whereT:Clone+Send+'static,"
    );
    assert!(
        signature(body).starts_with("asyncfn"),
        "{}",
        signature(body)
    );
}

/// A method of one mirror has each attribute once: docs and attributes for callers in the mirror,
/// attributes of the body with the body.
#[test]
fn what_is_in_one_mirror_has_each_attribute_once() {
    let source = quote::quote! {
        impl<R: Runtime> Library<R> {
            /// Docs.
            #[must_use = "for a reason"]
            #[deprecated]
            #[cfg(feature = "words")]
            #[cfg_attr(docsrs, cfg_attr(nightly, doc(cfg(feature = "words"))), tracing::instrument)]
            #[expect(clippy::too_many_arguments)]
            #[tracing::instrument]
            #[only(blocking)]
            pub fn print(&self) {}

            pub async fn other(&self) {}
        }
    };
    let expanded = expand(quote::quote!(mirror), source, Home::Core);
    let expanded: File = syn::parse2(expanded).unwrap();
    let Some(Item::Impl(base)) = expanded.items.first() else {
        panic!("a block");
    };
    let body = base.items.iter().find_map(|item| match item {
        ImplItem::Fn(function) if function.sig.ident.to_string().starts_with("__blocking") => {
            Some(function.clone())
        }
        _ => None,
    });
    assert_eq!(
        attributes(&body.expect("the body is there")),
        [
            r#"#[cfg(feature="words")]"#,
            "#[cfg_attr(docsrs,tracing::instrument)]",
            "#[allow(clippy::too_many_arguments)]",
            "#[tracing::instrument]",
        ]
    );
    assert_eq!(
        attributes(&public(mirror(&expanded, "blocking"))["print"]),
        [
            r##"#[doc=r"Docs."]"##,
            r#"#[must_use="forareason"]"#,
            "#[deprecated]",
            r#"#[cfg_attr(all(docsrs,nightly),doc(cfg(feature="words")))]"#,
            "#[allow(clippy::too_many_arguments)]",
            r#"#[cfg(feature="words")]"#,
        ]
    );
    assert!(!public(mirror(&expanded, "asynchronous")).contains_key("print"));
}

fn attributes(function: &ImplItemFn) -> Vec<String> {
    let text = |attribute: &Attribute| attribute.to_token_stream().to_string().replace(' ', "");
    function.attrs.iter().map(text).collect()
}

/// The examples' tests use every method that makes a call in every column: through the macros of
/// `fourway-testing`.
#[test]
fn the_examples_test_every_method_in_every_column() {
    for (source, tests) in [
        (
            include_str!("../../examples/skillkit/src/lib.rs"),
            include_str!("../../examples/skillkit/tests/it/ways.rs"),
        ),
        (
            include_str!("../../examples/ledger/src/lib.rs"),
            include_str!("../../examples/ledger/tests/it/ways.rs"),
        ),
    ] {
        let (written, _) = both(source);
        let mut tested = BTreeSet::new();
        in_columns(tests.parse().unwrap(), &mut tested);
        for (name, function) in public(&written) {
            let is_call = function.sig.asyncness.is_some()
                || function.attrs.iter().any(|it| is_named(it, "blocking"));
            assert!(!is_call || tested.contains(&name), "{name} is not tested");
        }
    }
}

/// The examples' tests use every method of both mirrors: with calls on `plain` and on `awaited`, or
/// through `both!`. Methods that take `self` may be called on any expression.
#[test]
fn the_examples_test_every_method_of_both_mirrors() {
    for (source, tests) in [
        (
            include_str!("../../examples/skillkit/src/lib.rs"),
            include_str!("../../examples/skillkit/tests/it/ways.rs"),
        ),
        (
            include_str!("../../examples/ledger/src/lib.rs"),
            include_str!("../../examples/ledger/tests/it/ways.rs"),
        ),
    ] {
        let (_, expanded) = both(source);
        let tests = syn::parse_file(tests).unwrap();
        let test = tests.items.iter().find_map(|item| match item {
            Item::Fn(function) => (function.sig.ident == "the_mirrors_give_what_the_library_gives")
                .then(|| function.block.to_token_stream()),
            _ => None,
        });
        let mut tested = BTreeMap::new();
        uses_of_mirrors(test.expect("the test is there"), &mut tested);
        for (side, variable) in [("blocking", "plain"), ("asynchronous", "awaited")] {
            for (name, function) in public(mirror(&expanded, side)) {
                let times = |by: &str| tested.get(&(by.to_owned(), name.clone())).copied();
                let is_tested = match function.sig.receiver() {
                    Some(receiver) if matches!(receiver.kind, ReceiverKind::Reference(..)) => {
                        times(variable).or(times("both")).is_some()
                    }
                    // A use for each side.
                    Some(_) => times("chained") >= Some(2),
                    None => times(side).is_some(),
                };
                assert!(is_tested, "{side}: {name} is not tested");
            }
        }
    }
}

/// How often each method is used, and in which way: `plain.name(..)`, `both!(name(..))`,
/// `blocking::Name::name(..)`, or on the result of another method.
fn uses_of_mirrors(tokens: TokenStream, found: &mut BTreeMap<(String, String), usize>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is = |token: &TokenTree, sign: char| matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign);
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        uses_of_mirrors(group.stream(), found);
        let (by, name) = match &tokens[..at] {
            [.., TokenTree::Ident(both), sign] if both == "both" && is(sign, '!') => {
                match group.stream().into_iter().next() {
                    Some(TokenTree::Ident(name)) => ("both".to_owned(), name),
                    _ => continue,
                }
            }
            [
                ..,
                TokenTree::Ident(side),
                a,
                b,
                _,
                c,
                d,
                TokenTree::Ident(name),
            ] if [a, b, c, d].iter().all(|sign| is(sign, ':')) => (side.to_string(), name.clone()),
            [.., TokenTree::Ident(variable), dot, TokenTree::Ident(name)] if is(dot, '.') => {
                (variable.to_string(), name.clone())
            }
            [.., TokenTree::Group(_), dot, TokenTree::Ident(name)] if is(dot, '.') => {
                ("chained".to_owned(), name.clone())
            }
            _ => continue,
        };
        *found.entry((by, name.to_string())).or_default() += 1;
    }
}

/// The methods that are called in `columns!(..)` and `items_in_columns!(..)`.
fn in_columns(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        match tokens[..at] {
            [.., TokenTree::Ident(ref name), TokenTree::Punct(_)]
                if name == "columns" || name == "items_in_columns" =>
            {
                methods(group.stream(), found)
            }
            _ => in_columns(group.stream(), found),
        }
    }
}

/// The methods that are called.
fn methods(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        if let [.., TokenTree::Punct(dot), TokenTree::Ident(name)] = &tokens[..at] {
            if dot.as_char() == '.' {
                found.insert(name.to_string());
            }
        }
        methods(group.stream(), found);
    }
}

/// A body that cannot be read, such as one that is being written, changes nothing for the other
/// methods, and its tokens stay for the editor and the compiler.
#[test]
fn a_body_that_cannot_be_read_is_kept() {
    let source = |broken: TokenStream| {
        quote::quote! {
            impl<R: Runtime> Library<R> {
                #[blocking]
                pub fn size(&self, of: [u8; 2]) -> Array<{ 1 + 1 }> {
                    self.one(of)
                }

                #[blocking]
                pub fn one(&self, of: [u8; 2]) -> Array<{ 1 + 1 }> { #broken }

                pub async fn two(&self) -> u32 {
                    2
                }
            }
        }
    };
    let expanded = |broken| {
        let mirror = quote::quote!(mirror);
        expand(mirror, source(broken), Home::Core).to_string()
    };
    let whole = expanded(quote::quote!(whole(of)));
    for broken in [
        quote::quote!(self.),
        quote::quote!(let x = ;),
        quote::quote!(if x { } else),
    ] {
        let text = broken.to_string();
        let expected = whole.replace("whole (of)", &text);
        assert_eq!(expanded(broken), expected);
    }
}

/// Bodies are compiled once: each of their literals occurs once, at its place.
#[test]
fn no_body_is_written_twice() {
    let mut looked_at = 0;
    for (source, _) in LIBRARIES {
        let (written, expanded) = both(source);
        let before = literals(written.to_token_stream());
        let after = literals(expanded.to_token_stream());
        looked_at += before.len();
        for (literal, count) in before {
            assert_eq!(after.get(&literal), Some(&count), "{literal}");
        }
    }
    assert!(looked_at > 5, "only {looked_at} texts");
}

/// The block with the attribute, and its expansion.
fn both(source: &str) -> (ItemImpl, File) {
    let file = syn::parse_file(source).unwrap();
    let mut block = file
        .items
        .into_iter()
        .find_map(|item| match item {
            Item::Impl(block) if !block.attrs.is_empty() => Some(block),
            _ => None,
        })
        .expect("a block with the attribute");
    let attribute = block.attrs.remove(0);
    assert!(is_named(&attribute, "calls"));
    let Meta::List(list) = attribute.meta else {
        panic!("`mirror` is an argument");
    };
    let expanded = expand(list.tokens, block.to_token_stream(), Home::Core);
    (block, syn::parse2(expanded).unwrap())
}

fn public(block: &ItemImpl) -> BTreeMap<String, ImplItemFn> {
    let functions = block.items.iter().filter_map(|item| match item {
        ImplItem::Fn(function) if matches!(function.vis, Visibility::Public(_)) => Some(function),
        _ => None,
    });
    functions
        .map(|function| (function.sig.ident.to_string(), function.clone()))
        .collect()
}

/// The inherent `impl` block of the type in a module.
fn mirror<'a>(file: &'a File, name: &str) -> &'a ItemImpl {
    let block = file.items.iter().find_map(|item| match item {
        Item::Impl(block) if block.trait_.is_none() => match &*block.self_ty {
            Type::Path(ty) if ty.path.segments[0].ident == name => Some(block),
            _ => None,
        },
        _ => None,
    });
    block.expect("the type has methods")
}

/// The parts that must be equal in the base and a mirror: docs, generics, arguments, output.
fn shape(function: &ImplItemFn) -> [String; 4] {
    let signature = &function.sig;
    let is_doc = |attribute: &&Attribute| attribute.path().is_ident("doc");
    let docs = function.attrs.iter().filter(is_doc);
    let docs = docs.map(|doc| doc.to_token_stream().to_string()).collect();
    let arguments = signature.inputs.iter().map(|argument| match argument {
        // `mut` matters only to the body.
        FnArg::Receiver(receiver) => match receiver.kind {
            ReceiverKind::Reference(..) => "&self".to_owned(),
            _ => "self".to_owned(),
        },
        FnArg::Typed(argument) => argument.to_token_stream().to_string(),
    });
    let output = match &signature.output {
        ReturnType::Type(_, ty) if ty.to_token_stream().to_string() == "()" => String::new(),
        output => output.to_token_stream().to_string(),
    };
    let generics = (&signature.generics).into_token_stream().to_string()
        + &signature
            .generics
            .where_clause
            .to_token_stream()
            .to_string();
    [
        docs,
        generics,
        arguments.collect::<Vec<_>>().join(", "),
        output,
    ]
}

/// How often each text is there, outside of attributes.
fn literals(tokens: TokenStream) -> BTreeMap<String, usize> {
    fn count(tokens: TokenStream, found: &mut BTreeMap<String, usize>) {
        let mut is_attribute = false;
        for token in tokens {
            let was_attribute = is_attribute;
            is_attribute = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
            match token {
                TokenTree::Literal(literal) => {
                    let literal = literal.to_string();
                    // A mirror is written as `self.0`, which contains another literal.
                    if literal.starts_with('"') {
                        *found.entry(literal).or_default() += 1;
                    }
                }
                TokenTree::Group(group) if !was_attribute => count(group.stream(), found),
                _ => {}
            }
        }
    }
    let mut found = BTreeMap::new();
    count(tokens, &mut found);
    found
}
