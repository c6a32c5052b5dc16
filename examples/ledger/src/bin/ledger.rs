//! A command line: sync code, with the mirror whose methods are plain functions. It starts no
//! runtime.
//!
//! Exit codes: 0, done; 1, it failed, or an audit has found something; 2, the arguments are wrong.

use std::{error::Error, io, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use fourway::Ambient;
use ledger::blocking::Ledger;

/// Accounts in a file.
#[derive(Parser)]
struct Arguments {
    /// The file; made if there is none.
    file: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Opens an account.
    Open {
        account: String,
        /// How far below zero it may go.
        #[arg(default_value_t = 0)]
        credit: u32,
    },
    /// Moves an amount, and prints the number of the transfer.
    Transfer {
        from: String,
        to: String,
        amount: u32,
    },
    /// Prints the balances of accounts, or of all.
    Balance { accounts: Vec<String> },
    /// Prints the entries of an account.
    Entries { account: String },
    /// Compares balances with entries.
    Audit,
}

fn main() -> ExitCode {
    let Arguments { file, action } = Arguments::parse();
    match run(&Ledger::new(Ambient, file), action) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(ledger: &Ledger<Ambient>, action: Action) -> Result<ExitCode, Box<dyn Error>> {
    match action {
        Action::Open { account, credit } => {
            ledger.open(&account, credit)?;
        }
        Action::Transfer { from, to, amount } => {
            println!("{}", ledger.transfer(&from, &to, amount)?);
        }
        Action::Balance { mut accounts } => {
            if accounts.is_empty() {
                accounts = ledger.accounts()?;
            }
            for account in accounts {
                println!("{account} {}", ledger.balance(&account)?);
            }
        }
        Action::Entries { account } => {
            ledger.export(&account, &mut io::stdout().lock())?;
        }
        Action::Audit => {
            let audit = ledger.audit()?;
            println!("{} accounts, {} entries", audit.accounts, audit.entries);
            for account in &audit.wrong {
                println!("{account} is not the sum of its entries");
            }
            if !audit.wrong.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
