//! `assay events`: who did what to what, when.

use assay_proto::v1::{ReadEventsRequest, ReadEventsResponse};
use serde_json::json;
use tokio_stream::StreamExt;

use crate::connect::Coordinator;
use crate::{args, print};

/// Runs the command.
pub(crate) async fn run(args: &args::Events) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let failed = |status: tonic::Status| coordinator.failed(&status);
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    let request = ReadEventsRequest {
        matrix_id: given(&args.matrix),
        job_id: given(&args.job),
        worker_id: given(&args.worker),
        kind: given(&args.kind),
        since_ms: args.since.unwrap_or(0),
        limit: args.limit,
        follow: args.follow,
    };
    let mut stream = coordinator.events().read(request).await.map_err(failed)?.into_inner();
    while let Some(event) = stream.next().await {
        show(args, &event.map_err(failed)?)?;
    }
    Ok(())
}

fn show(args: &args::Events, event: &ReadEventsResponse) -> anyhow::Result<()> {
    if args.json {
        return print::json_line(&json!({
            "sequence": event.sequence, "at_unix_ms": event.at_unix_ms, "kind": event.kind, "who": event.who,
            "matrix": event.matrix_id, "job": event.job_id, "fence": event.fence, "what": event.what,
        }));
    }
    let about = if event.job_id.is_empty() { &event.matrix_id } else { &event.job_id };
    let words = [event.who.as_str(), about, &event.fence, &event.what];
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    print::line(format!("{} {}", time(event.at_unix_ms), words.join(" ")));
    Ok(())
}

/// Universal time, to the second.
pub(crate) fn time(unix_ms: u64) -> String {
    if unix_ms == 0 {
        return format!("{:20}", "-");
    }
    let (day, second) = (unix_ms / 86_400_000, unix_ms / 1_000 % 86_400);
    let clock = format!("{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60);
    format!("{}T{clock}", date(day))
}

/// The date of a day since 1970, by counting whole eras of 400 years (146,097 days) from 1 March of the year 0.
fn date(day: u64) -> String {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A time ago, in milliseconds: `90s`, `10m`, `2h`, `7d`.
pub(crate) fn ago(text: &str) -> Result<u64, String> {
    let rule = || String::from("write how long ago: a number and s, m, h or d, such as 90s, 10m, 2h or 7d");
    let unit = text.chars().next_back().ok_or_else(rule)?;
    let unit_ms = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(rule()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| rule())?;
    number.checked_mul(unit_ms).filter(|ms| *ms > 0).ok_or_else(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(1_000), "1970-01-01T00:00:01Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_795_421_472_999), "2026-11-23T08:11:12Z");
        assert_eq!(date(365 + 365 + 366 - 1), "1972-12-31");
    }

    #[test]
    fn how_long_ago_is_a_number_and_a_unit() {
        assert_eq!((ago("90s"), ago("2h"), ago("7d")), (Ok(90_000), Ok(7_200_000), Ok(604_800_000)));
        for bad in ["", "h", "5", "0s", "-1h", "1é", "99999999999999999d"] {
            assert!(ago(bad).is_err(), "{bad}");
        }
    }
}
