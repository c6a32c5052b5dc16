//! The mirrors of the example libraries have all that their types have, in whichever `impl` block it is.
//!
//! `expansion_tests.rs` compares a block that has the attribute with its expansion. Here, all blocks of
//! the type count, in all files of the library: a method in a block without the attribute is in no
//! mirror.

use std::{collections::BTreeSet, fs, path::Path};

use quote::ToTokens;
use syn::{Attribute, File, ImplItem, Item, ItemImpl, Meta, Type, Visibility};

use crate::{
    calls::expand,
    options::{Home, is_named},
};

/// Each with its mirrored type.
const LIBRARIES: &[(&str, &str)] = &[("skillkit", "Skills"), ("ledger", "Ledger")];

const SIDES: [&str; 2] = ["blocking", "asynchronous"];

#[test]
fn each_public_item_is_in_both_mirrors() {
    for (library, name) in LIBRARIES {
        let files = files_of(library);
        let base = public(&blocks_of(&files, name), "");
        assert!(base.len() > 5, "{library}: {base:?}");
        assert_eq!(different(&files, name), BTreeSet::new(), "{library}");
    }
}

/// The comparison above sees what is forgotten.
#[test]
fn an_item_in_a_block_without_the_attribute_is_missed() {
    for (library, name) in LIBRARIES {
        for (item, seen) in [
            ("pub fn added(&self) {}", true),
            ("pub async fn added(&self) {}", true),
            ("pub const ADDED: u8 = 1;", true),
            ("fn private(&self) {}", false),
            ("pub(crate) fn internal(&self) {}", false),
        ] {
            let mut files = files_of(library);
            let block = format!("mod further {{ impl<R> super::{name}<R> {{ {item} }} }}");
            files.push(syn::parse_file(&block).unwrap());
            assert_eq!(!different(&files, name).is_empty(), seen, "{item}");
        }
    }
}

/// The names that are only in the base, or only in a mirror.
fn different(files: &[File], name: &str) -> BTreeSet<String> {
    let blocks = blocks_of(files, name);
    let mut different = BTreeSet::new();
    for [side, other] in [SIDES, [SIDES[1], SIDES[0]]] {
        let mirrored: BTreeSet<_> = blocks
            .iter()
            .filter_map(expanded)
            .flat_map(|file| public(&blocks_of(&[file], side), ""))
            .collect();
        let base = public(&blocks, other);
        let names = base.symmetric_difference(&mirrored);
        different.extend(names.map(|name| format!("{side}: {name}")));
    }
    different
}

fn files_of(library: &str) -> Vec<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(library)
        .join("src");
    let files = fs::read_dir(&folder).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        // Programs are in folders.
        path.is_file().then(|| fs::read_to_string(path).unwrap())
    });
    files.map(|text| syn::parse_file(&text).unwrap()).collect()
}

/// The blocks of a type's own items.
fn blocks_of(files: &[File], name: &str) -> Vec<ItemImpl> {
    let mut blocks = Vec::new();
    for file in files {
        collect(&file.items, name, &mut blocks);
    }
    blocks
}

fn collect(items: &[Item], name: &str, blocks: &mut Vec<ItemImpl>) {
    for item in items {
        match item {
            Item::Mod(module) => {
                if let Some((_, items)) = &module.content {
                    collect(items, name, blocks);
                }
            }
            Item::Impl(block) if block.trait_.is_none() => {
                // A mirror's block is of `blocking::Skills`; a further one of the base, of `super::Skills`.
                let is_of_type = match &*block.self_ty {
                    Type::Path(ty) => ty.path.segments.iter().any(|part| part.ident == name),
                    _ => false,
                };
                if is_of_type {
                    blocks.push(block.clone());
                }
            }
            _ => {}
        }
    }
}

/// What `#[calls]` makes of a block that has it.
fn expanded(block: &ItemImpl) -> Option<File> {
    let mut block = block.clone();
    let at = block.attrs.iter().position(|it| is_named(it, "calls"))?;
    let attribute = block.attrs.remove(at);
    let options = match attribute.meta {
        Meta::List(list) => list.tokens,
        _ => Default::default(),
    };
    let expanded = expand(options, block.to_token_stream(), Home::Core);
    Some(syn::parse2(expanded).unwrap())
}

/// The public functions and constants, except those of the mirror `without` alone.
fn public(blocks: &[ItemImpl], without: &str) -> BTreeSet<String> {
    let is_of = |attributes: &[Attribute]| {
        attributes.iter().any(|attribute| {
            is_named(attribute, "only")
                && !without.is_empty()
                && attribute.to_token_stream().to_string().contains(without)
        })
    };
    let items = blocks.iter().flat_map(|block| &block.items);
    let names = items.filter_map(|item| match item {
        ImplItem::Fn(function) if !is_of(&function.attrs) => {
            Some((&function.vis, &function.sig.ident))
        }
        ImplItem::Const(constant) => Some((&constant.vis, &constant.ident)),
        _ => None,
    });
    names
        .filter(|(visibility, _)| matches!(visibility, Visibility::Public(_)))
        .map(|(_, name)| name.to_string())
        .collect()
}
