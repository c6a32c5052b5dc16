//! `#[calls]`, on every kind of item.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{
    Attribute, GenericParam, Generics, Ident, Path, Type, TypeParamBound, Visibility,
    WherePredicate,
};

use crate::{
    arguments::first_borrow,
    attributes::{cfgs, lint_levels, one_each},
    errors::{Errors, at, of_parsing},
    item::{ImplItem, ImplItemFn, Item, ItemImpl, ItemTrait, Signature, TraitItem},
    mirror, mirror_methods,
    options::{Home, Marks, Options, Side, is_named},
    recursion,
    signature::{Kind, Method, body_of, gives_many, kind, parameter, tokens},
    unconstrained, words,
};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream, home: Home) -> TokenStream {
    let mut errors = Errors::default();
    let options = errors
        .take(Options::parse(arguments, home))
        .unwrap_or_else(|| Options::new(home));
    let parsed = match syn::parse2::<Item>(item.clone()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let error = of_parsing(error).into_compile_error();
            return quote!(#item #error);
        }
    };
    let expanded = match parsed {
        Item::Impl(block) => {
            errors.take(applied_once(&block.attrs));
            implementation(block, &options, &mut errors)
        }
        Item::Trait(definition) => {
            errors.take(applied_once(&definition.attrs));
            trait_definition(definition, &options, &mut errors)
        }
        Item::Other(other) => {
            errors.push(syn::Error::new(
                proc_macro2::Span::call_site(),
                "`#[calls]` stands on an `impl` block or on a trait; a call is made of a method, which has \
                 the runtime in `self`",
            ));
            other
        }
    };
    let errors = errors.into_tokens();
    quote!(#expanded #errors)
}

fn applied_once(attributes: &[Attribute]) -> syn::Result<()> {
    match attributes
        .iter()
        .find(|attribute| is_named(attribute, "calls"))
    {
        Some(second) => Err(at(
            second,
            "`#[calls]` is here twice: remove one, and put the options together",
        )),
        None => Ok(()),
    }
}

/// A method of a block, with its body.
struct Found {
    method: Method,
    block: TokenStream,
}

fn implementation(mut block: ItemImpl, options: &Options, errors: &mut Errors) -> TokenStream {
    errors.take(no_borrows(&block));
    errors.take(recursion::refuse(&block, options));
    block.attrs = std::mem::take(&mut block.attrs)
        .into_iter()
        .flat_map(one_each)
        .collect();
    let of = block.trait_.as_ref().map(|(path, _)| path.clone());
    if let (Some(of), Some(_)) = (&of, &options.mirror) {
        errors.push(at(of, "a mirror is made of the methods of a type: write `#[calls(mirror)]` on its `impl` block without a trait"));
    }
    let blocking = blocking_methods(&block);
    let types = types(&block);
    // Those of the bodies, which are methods of the type: no trait constrains a parameter there.
    let (of_type, of_methods) = match &of {
        Some(_) => unconstrained::take(&block.generics, &block.self_ty),
        None => (block.generics.clone(), Generics::default()),
    };
    let of_trait = of_methods.params.iter().filter_map(parameter);
    let of_trait = quote!(#(#of_trait,)*);
    let in_place = |name: &Ident| {
        let (_, is_plain) = blocking.iter().find(|(known, _)| known == name)?;
        let mut body = body_of(name, of.as_ref());
        body.set_span(name.span());
        Some(words::Body {
            name: body,
            is_plain: *is_plain,
        })
    };
    let (mut beside, mut mirrored, mut found_any) = (Vec::new(), Vec::new(), false);
    let mut items = Vec::new();
    for item in std::mem::take(&mut block.items) {
        let function = match item {
            ImplItem::Fn(function) => function,
            other => {
                if let ImplItem::Const(constant) = &other {
                    mirrored.push(mirror_methods::Member::Constant(constant.clone()));
                }
                items.push(other.into_token_stream());
                continue;
            }
        };
        let plain = function.clone();
        let found = match find(function, options, &of) {
            Ok(found) => found,
            Err(error) => {
                errors.push(error);
                found_any = true;
                items.push(unmarked(plain));
                continue;
            }
        };
        match found {
            What::Plain(function) => {
                mirrored.push(mirror_methods::Member::Plain((*function).clone()));
                items.push(function.into_token_stream());
            }
            What::Only(side, function) => {
                found_any = true;
                items.push(mirror_methods::only_body(side, &function));
                mirrored.push(mirror_methods::Member::Only(side, *function));
            }
            What::Call(found) => {
                let Found {
                    mut method,
                    block: body,
                } = *found;
                found_any = true;
                method.of_trait.clone_from(&of_methods);
                let name = body_of(&method.name, of.as_ref());
                let body = match method.kind {
                    Kind::Blocking => words::call_in_place(body, &in_place, &of_trait),
                    Kind::Async => body,
                };
                items.push(method.public(options, &block.generics, &name));
                let private = method.private(options, &block.generics, &name, &body);
                match &of {
                    None => items.push(private),
                    Some(_) => beside.push(private),
                }
                mirrored.push(mirror_methods::Member::Call(Box::new(method)));
            }
        }
    }
    if !found_any {
        errors.push(at(
            &block.self_ty,
            "no method here is an `async fn` or marked `#[blocking]`, so there is nothing to make calls of: \
             mark those whose bodies may block, or remove `#[calls]`",
        ));
    }
    let head = head(&block);
    let beside = beside_type(&block, &of_type, &of, &types, beside, errors);
    let mirrors = match (&options.mirror, &of) {
        (Some(modules), None) => mirror::modules(&block, options, modules, &mirrored, errors),
        _ => TokenStream::new(),
    };
    quote!(#head { #(#items)* } #beside #mirrors)
}

/// All of an `impl` block up to its brace.
fn head(block: &ItemImpl) -> TokenStream {
    let ItemImpl {
        attrs,
        unsafety,
        impl_token,
        self_ty,
        generics,
        ..
    } = block;
    let (parameters, _, clause) = generics.split_for_impl();
    let not = &block.polarity;
    let of = block
        .trait_
        .as_ref()
        .map(|(path, word)| quote!(#not #path #word));
    quote!(#(#attrs)* #unsafety #impl_token #parameters #of #self_ty #clause)
}

/// The bodies of a trait's methods, as methods of the type.
fn beside_type(
    block: &ItemImpl,
    generics: &Generics,
    of: &Option<Path>,
    types: &[Ident],
    bodies: Vec<TokenStream>,
    errors: &mut Errors,
) -> TokenStream {
    let (Some(of), false) = (of, bodies.is_empty()) else {
        return TokenStream::new();
    };
    let is_parameter = |path: &Path| {
        let mut names = block.generics.type_params();
        names.any(|parameter| path.is_ident(&parameter.ident))
    };
    let is_own = matches!(&*block.self_ty, Type::Path(ty) if !is_parameter(&ty.path));
    if !is_own {
        errors.push(at(
            &block.self_ty,
            "the bodies are put beside the type, so it has to be one of your crate: wrap this one in a \
             `struct` of yours",
        ));
        return TokenStream::new();
    };
    let bodies = words::qualify(quote!(#(#bodies)*), of, types);
    let (ty, cfgs, levels) = (
        &block.self_ty,
        cfgs(&block.attrs),
        lint_levels(&block.attrs),
    );
    let (parameters, _, clause) = generics.split_for_impl();
    quote!(#(#cfgs)* #(#levels)* impl #parameters #ty #clause { #bodies })
}

/// The types that the `impl` of a trait gives.
fn types(block: &ItemImpl) -> Vec<Ident> {
    let types = block.items.iter().filter_map(|item| match item {
        ImplItem::Type(name, _) => Some(name.clone()),
        _ => None,
    });
    types.collect()
}

/// The expansion of a function of a block.
enum What {
    Plain(Box<ImplItemFn>),
    Only(Side, Box<ImplItemFn>),
    Call(Box<Found>),
}

fn find(mut function: ImplItemFn, options: &Options, of: &Option<Path>) -> syn::Result<What> {
    let marks = Marks::take(&mut function.attrs)?;
    if let Some((side, mark)) = &marks.only {
        mirror_methods::check_only(*side, mark, &marks, &function.sig, options)?;
        return Ok(What::Only(*side, Box::new(function)));
    }
    let Some(kind) = kind(&function.sig, &marks)? else {
        return Ok(What::Plain(Box::new(function)));
    };
    let block = tokens(&function.block);
    let mut method = Method::new(
        kind,
        &marks,
        options,
        function.attrs,
        function.vis,
        &function.sig,
    )?;
    // Methods of a trait are boxed.
    method.boxed |= of.is_some();
    Ok(What::Call(Box::new(Found { method, block })))
}

/// A function with a mistake, so that the rest of the program can name it; without its marks, which
/// would cause further errors.
fn unmarked(mut function: ImplItemFn) -> TokenStream {
    function.attrs.retain(|attribute| {
        let path = attribute.path();
        !["blocking", "boxed", "only"]
            .iter()
            .any(|mark| path.is_ident(mark))
    });
    function.into_token_stream()
}

/// The methods that have a body to call in place. Not those that are written several times, each under
/// a `#[cfg(..)]`, and are not always blocking: what is compiled may have no such body.
///
/// With each: has it no parameters of its own?
fn blocking_methods(block: &ItemImpl) -> Vec<(Ident, bool)> {
    let methods = block.items.iter().filter_map(|item| match item {
        ImplItem::Fn(function) => Some(function),
        _ => None,
    });
    let is_blocking = |function: &&ImplItemFn| {
        function
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("blocking"))
            // The body gives an iterator, and the block's own code may want what `Items` can do.
            && !gives_many(&function.sig)
    };
    let (blocking, others): (Vec<_>, Vec<_>) = methods.partition(is_blocking);
    let is_always = |name: &Ident| others.iter().all(|other| other.sig.ident != *name);
    let known = blocking.into_iter().filter(|it| is_always(&it.sig.ident));
    let is_plain = |it: &Signature| {
        it.generics.params.is_empty() && !words::has_word(it.inputs.to_token_stream(), "impl")
    };
    known
        .map(|it| (it.sig.ident.clone(), is_plain(&it.sig)))
        .collect()
}

/// A trait may have lifetimes, but not the type.
fn no_borrows(block: &ItemImpl) -> syn::Result<()> {
    match first_borrow(&block.self_ty) {
        Some(span) => Err(syn::Error::new(
            span,
            "a call may outlive whoever made it, so its type cannot borrow: keep an owned value or an `Arc` \
             in place of a reference",
        )),
        None => Ok(()),
    }
}

/// Does it say `where Self: Sized`? Then it is no part of a `dyn Trait`.
fn is_for_sized(generics: &Generics) -> bool {
    let mut predicates = generics.where_clause.iter().flat_map(|it| &it.predicates);
    predicates.any(|predicate| match predicate {
        WherePredicate::Type(of) => {
            let is_sized = |bound: &TypeParamBound| matches!(bound, TypeParamBound::Trait(bound) if bound.path.segments.last().is_some_and(|last| last.ident == "Sized"));
            matches!(&of.bounded_ty, Type::Path(path) if path.path.is_ident("Self"))
                && of.bounds.iter().any(is_sized)
        }
        _ => false,
    })
}

fn trait_definition(
    mut definition: ItemTrait,
    options: &Options,
    errors: &mut Errors,
) -> TokenStream {
    if options.mirror.is_some() {
        errors.push(at(&definition.ident, "a mirror is made of the methods of a type: write `#[calls(mirror)]` on its `impl` block"));
    }
    let mut found_any = false;
    let items = std::mem::take(&mut definition.items);
    for item in items {
        let mut function = match item {
            TraitItem::Fn(function) => *function,
            other => {
                definition.items.push(other);
                continue;
            }
        };
        let marks = errors
            .take(Marks::take(&mut function.attrs))
            .unwrap_or_default();
        if let Some((_, mark)) = &marks.only {
            errors.push(at(mark, "a trait has no mirrors for it to be in: write `#[calls(mirror)]` and `#[only(..)]` on the `impl` block of a type"));
        }
        let kind = match kind(&function.sig, &marks) {
            Ok(kind) => kind,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let Some(kind) = kind else {
            definition.items.push(TraitItem::Fn(Box::new(function)));
            continue;
        };
        found_any = true;
        if let Some(body) = &function.default {
            errors.push(at(
                body,
                "a body clones `self`, which a `dyn Trait` cannot do: end the method with `;`, and write the \
                 body in each `#[calls] impl`, or as a function that those call",
            ));
        }
        let visibility = Visibility::Inherited;
        let method = Method::new(
            kind,
            &marks,
            options,
            function.attrs,
            visibility,
            &function.sig,
        );
        if let Some(method) = errors.take(method) {
            let is_type =
                |parameter: &&GenericParam| !matches!(parameter, GenericParam::Lifetime(_));
            let parameter = method.generics.params.iter().find(is_type);
            if let Some(parameter) = parameter.filter(|_| !is_for_sized(&method.generics)) {
                errors.push(at(
                    parameter,
                    "a type parameter or an `impl Trait` makes the trait unusable as `dyn`: take a type with a \
                     name, such as `String` or `Box<dyn Trait + Send>`, or keep the method out of `dyn` by \
                     `where Self: Sized`",
                ));
            }
            definition
                .items
                .push(TraitItem::Other(method.required(options)));
        }
    }
    if !found_any {
        errors.push(at(
            &definition.ident,
            "no method here is an `async fn` or marked `#[blocking]`, so there is nothing to make calls of: \
             mark those whose bodies may block, or remove `#[calls]`",
        ));
    }
    definition.into_token_stream()
}
