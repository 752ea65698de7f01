//! The flags that switch collectors on and off: two for each, made from its name.

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::collectors::Name;

/// What flags and environment say of collectors.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Those that something is said of, and whether they are on.
    pub said: Vec<(Name, bool)>,
}

fn argument(flag: &'static str, env: &'static str, other: &'static str) -> Arg {
    Arg::new(flag)
        .long(flag)
        .env(env)
        .value_name("BOOL")
        .value_parser(BoolishValueParser::new())
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .overrides_with_all([flag, other])
        .global(true)
}

impl Args for Flags {
    fn augment_args(mut command: Command) -> Command {
        for name in Name::ALL {
            let ((on, on_env), (off, off_env)) = (name.flag(), name.no_flag());
            let is_on = if name.is_on() { "on" } else { "off" };
            let about = format!("{} [default: {is_on}]", name.about());
            command = command
                .arg(argument(on, on_env, off).help(about))
                .arg(argument(off, off_env, on).help("The same, switched off"));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let of_flag = |flag: &str| {
            let value = *matches.get_one::<bool>(flag)?;
            Some((
                matches.value_source(flag) == Some(ValueSource::CommandLine),
                value,
            ))
        };
        let said = |name: &Name| {
            let on = of_flag(name.flag().0);
            let off = of_flag(name.no_flag().0).map(|(by_flag, value)| (by_flag, !value));
            // A flag stands above the environment; there, "no" has the last word.
            let said = match (on, off) {
                (Some((by_flag, on)), Some((no_by_flag, _))) if by_flag && !no_by_flag => on,
                (_, Some((_, said))) | (Some((_, said)), None) => said,
                (None, None) => return None,
            };
            Some((*name, said))
        };
        Ok(Self {
            said: Name::ALL.iter().filter_map(said).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser as _;

    #[test]
    fn the_last_flag_holds() {
        for (flags, want) in [
            (&[][..], None),
            (&["--collector.memory"], Some(true)),
            (&["--collector.memory=false"], Some(false)),
            (&["--no-collector.memory"], Some(false)),
            (&["--no-collector.memory=false"], Some(true)),
            (
                &["--collector.memory", "--no-collector.memory"],
                Some(false),
            ),
            (&["--no-collector.memory", "--collector.memory"], Some(true)),
        ] {
            let cli = Cli::parse_from(["envoy-exporter"].iter().chain(flags));
            let said = cli.flags.overrides().collectors;
            let found = said.iter().find(|(name, _)| *name == Name::Memory);
            assert_eq!(found.map(|(_, on)| *on), want, "{flags:?}");
            assert_eq!(said.len(), usize::from(want.is_some()), "{flags:?}");
        }
    }
}
