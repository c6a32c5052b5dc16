//! Attributes: which of them go to the public method, which to its body, and which to both.

use syn::{
    AttrStyle, Attribute, Ident, Meta, Path, Token, parse_quote, punctuated::Punctuated,
    spanned::Spanned,
};

/// Attributes of the public method, and those of its body.
///
/// A `cfg` is only among the body's attributes; [`cfgs`] gives it for the public method.
pub(crate) fn share(attributes: Vec<Attribute>) -> (Vec<Attribute>, Vec<Attribute>) {
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    for attribute in attributes.into_iter().flat_map(one_each) {
        if is_of_callers(&attribute) {
            outer.push(attribute);
        } else if let Some(level) = lint_level(&attribute) {
            outer.push(level.clone());
            inner.push(level);
        } else {
            inner.push(attribute);
        }
    }
    (outer, inner)
}

/// The attributes of a mirror's function, which only delegates.
pub(crate) fn of_mirror(attributes: &[Attribute]) -> Vec<Attribute> {
    let attributes = attributes.iter().cloned().flat_map(one_each);
    let kept = attributes.filter_map(|attribute| {
        if is_of_callers(&attribute) || is_cfg(&attribute) {
            return Some(attribute);
        }
        lint_level(&attribute)
    });
    kept.collect()
}

/// Does it inform callers, or say how the method is called?
fn is_of_callers(attribute: &Attribute) -> bool {
    matches!(
        name_of(attribute).as_deref(),
        Some("doc" | "must_use" | "deprecated" | "track_caller" | "inline" | "cold")
    )
}

fn is_cfg(attribute: &Attribute) -> bool {
    name_of(attribute).as_deref() == Some("cfg")
}

/// The `cfg` attributes of the method.
pub(crate) fn cfgs(attributes: &[Attribute]) -> Vec<&Attribute> {
    attributes
        .iter()
        .filter(|attribute| is_cfg(attribute))
        .collect()
}

/// The levels of lints, for code that is generated beside the item that has them.
pub(crate) fn lint_levels(attributes: &[Attribute]) -> Vec<Attribute> {
    let attributes = attributes.iter().cloned().flat_map(one_each);
    attributes
        .filter_map(|attribute| lint_level(&attribute))
        .collect()
}

/// The attribute, if it sets the level of a lint. An `expect` becomes an `allow`, as it may then
/// be in two places, and the lint in only one of them.
fn lint_level(attribute: &Attribute) -> Option<Attribute> {
    match name_of(attribute)?.as_str() {
        "allow" | "warn" | "deny" | "forbid" => Some(attribute.clone()),
        "expect" => {
            let allowed = |mut given: Meta| {
                if let Meta::List(list) = &mut given {
                    let span = list.path.span();
                    list.path = Ident::new("allow", span).into();
                }
                given
            };
            Some(match conditional(attribute) {
                None => {
                    let given = allowed(attribute.meta.clone());
                    parse_quote!(#[#given])
                }
                Some((when, given)) => {
                    let given = given.into_iter().map(allowed);
                    parse_quote!(#[cfg_attr(#when, #(#given),*)])
                }
            })
        }
        _ => None,
    }
}

/// Splits a `#[cfg_attr(when, one, two)]` into one for each attribute, as these may go to different
/// places. Turns an inner attribute, `#![..]`, into an outer one.
pub(crate) fn one_each(mut attribute: Attribute) -> Vec<Attribute> {
    attribute.style = AttrStyle::Outer;
    let Some((when, given)) = conditional(&attribute) else {
        return vec![attribute];
    };
    let each = given.into_iter().flat_map(|given| {
        let one: Attribute = parse_quote!(#[#given]);
        // A nested `cfg_attr` depends on both conditions.
        match conditional(&one) {
            None => vec![parse_quote!(#[cfg_attr(#when, #given)])],
            Some((and, inside)) => {
                let both = |inside| parse_quote!(#[cfg_attr(all(#when, #and), #inside)]);
                inside.into_iter().map(both).flat_map(one_each).collect()
            }
        }
    });
    each.collect()
}

/// The name of an attribute, or of the attribute that a `cfg_attr` gives.
pub(crate) fn name_of(attribute: &Attribute) -> Option<String> {
    let name = |path: &Path| path.get_ident().map(Ident::to_string);
    match conditional(attribute) {
        Some((_, given)) => name(given.first()?.path()),
        None => name(attribute.path()),
    }
}

/// The condition and the attributes of a `cfg_attr`.
fn conditional(attribute: &Attribute) -> Option<(Meta, Vec<Meta>)> {
    if !attribute.path().is_ident("cfg_attr") {
        return None;
    }
    let metas = Punctuated::<Meta, Token![,]>::parse_terminated;
    // The compiler reports a malformed attribute at its place.
    let mut metas = attribute.parse_args_with(metas).ok()?.into_iter();
    Some((metas.next()?, metas.collect()))
}
