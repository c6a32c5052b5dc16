//! Parameters of an `impl` of a trait that its type does not have: [`take`].

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{
    AssocType, GenericParam, Generics, Ident, Type, TypeParamBound, WherePredicate, parse_quote,
    visit_mut::{self, VisitMut},
};

use crate::words;

/// Splits the generics of `impl<T, R> Trait<T> for Of<R>` into those of an `impl` of the type alone
/// and those that each of its methods has to have: `T`, which the trait constrains and the type does
/// not.
pub(crate) fn take(generics: &Generics, of: &Type) -> (Generics, Generics) {
    let known = constrained(generics, of);
    let is_moved = |parameter: &GenericParam| match parameter {
        GenericParam::Lifetime(_) => false,
        other => name(other).is_some_and(|name| !known.contains(name)),
    };
    let (moved, kept): (Vec<_>, Vec<_>) =
        generics.params.iter().cloned().partition(|it| is_moved(it));
    let names: Vec<&Ident> = moved.iter().filter_map(name).collect();
    let mentions = |tokens: &dyn ToTokens| {
        let tokens = tokens.to_token_stream();
        names
            .iter()
            .any(|name| words::has_word(tokens.clone(), *name))
    };
    let (mut type_side, mut method_side) = (Generics::default(), Generics::default());
    let clause = generics.where_clause.iter().flat_map(|it| &it.predicates);
    for predicate in clause {
        let side = match mentions(predicate) {
            true => &mut method_side,
            false => &mut type_side,
        };
        side.make_where_clause().predicates.push(predicate.clone());
    }
    for mut parameter in kept {
        if let GenericParam::Type(of) = &mut parameter {
            let bounds = std::mem::take(&mut of.bounds);
            let (moved, kept): (Vec<_>, Vec<_>) = bounds.into_iter().partition(|it| mentions(it));
            of.bounds.extend(kept);
            if !moved.is_empty() {
                let name = &of.ident;
                let predicate: WherePredicate = parse_quote!(#name: #(#moved)+*);
                method_side.make_where_clause().predicates.push(predicate);
            }
        }
        type_side.params.push(parameter);
    }
    method_side.params.extend(moved.iter().cloned());
    (type_side, method_side)
}

/// The parameters that the type determines: those in it, and those that are an associated type of
/// these, as `T` in `I: Iterator<Item = T>`.
fn constrained(generics: &Generics, of: &Type) -> Vec<Ident> {
    let names: Vec<&Ident> = generics.params.iter().filter_map(name).collect();
    let within = |tokens: TokenStream| {
        let found = names
            .iter()
            .filter(move |name| words::has_word(tokens.clone(), **name));
        found.map(|name| (*name).clone()).collect::<Vec<_>>()
    };
    let mut known = within(of.to_token_stream());
    // What is bounded, and the associated types that the bounds name.
    let parameters = generics.params.iter().filter_map(|it| match it {
        GenericParam::Type(of) => Some((of.ident.to_token_stream(), bindings(&of.bounds))),
        _ => None,
    });
    let clause = generics.where_clause.iter().flat_map(|it| &it.predicates);
    let predicates = clause.filter_map(|it| match it {
        WherePredicate::Type(of) => Some((of.bounded_ty.to_token_stream(), bindings(&of.bounds))),
        _ => None,
    });
    let bounds: Vec<_> = parameters.chain(predicates).collect();
    loop {
        let before = known.len();
        for (bounded, bindings) in &bounds {
            let is_known = within(bounded.clone())
                .iter()
                .all(|name| known.contains(name));
            if is_known {
                let found = within(bindings.clone());
                let new = found.into_iter().filter(|name| !known.contains(name));
                known.extend(new.collect::<Vec<_>>());
            }
        }
        if known.len() == before {
            return known;
        }
    }
}

/// The types after `=` in bounds.
fn bindings<'a>(bounds: impl IntoIterator<Item = &'a TypeParamBound>) -> TokenStream {
    #[derive(Default)]
    struct Bindings(TokenStream);

    impl VisitMut for Bindings {
        fn visit_assoc_type_mut(&mut self, binding: &mut AssocType) {
            binding.ty.to_tokens(&mut self.0);
            visit_mut::visit_assoc_type_mut(self, binding);
        }
    }

    let mut found = Bindings::default();
    for bound in bounds {
        found.visit_type_param_bound_mut(&mut bound.clone());
    }
    found.0
}

fn name(parameter: &GenericParam) -> Option<&Ident> {
    match parameter {
        GenericParam::Type(ty) => Some(&ty.ident),
        GenericParam::Const(constant) => Some(&constant.ident),
        GenericParam::Lifetime(_) => None,
    }
}
