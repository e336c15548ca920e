//! The counters in Prometheus's text format, version 0.0.4.

use std::fmt::Write;

use super::metrics::Snapshot;

/// Formats the page. `histogram` is of request durations: seconds, and how many took at most that long; and
/// their sum.
pub fn page(now: &Snapshot, histogram: &(Vec<(f64, u64)>, f64)) -> String {
    let counters = [
        ("requests_total", "Requests to stores", now.requests),
        ("request_errors_total", "Requests that brought an error", now.errors),
        ("requests_raced_total", "Slow requests that were asked twice", now.raced),
        ("retries_total", "Requests that were sent again", now.retries),
        ("fetched_bytes_total", "Bytes that stores gave", now.bytes_fetched),
        ("disk_bytes_total", "Bytes read from the cache on disk", now.bytes_from_disk),
        ("memory_bytes_total", "Bytes read from memory", now.bytes_from_memory),
        ("opened_total", "Objects that were opened", now.opened),
    ];
    let gauges = [
        ("memory_bytes", "Bytes of objects in memory", now.memory),
        ("memory_limit_bytes", "Bytes of objects in memory, at most", now.memory_limit),
    ];
    let mut page = String::new();
    let mut one = |kind: &str, (name, help, value): (&str, &str, u64)| {
        let _ = writeln!(
            page,
            "# HELP dcfs_{name} {help}.\n# TYPE dcfs_{name} {kind}\ndcfs_{name} {value}"
        );
    };
    counters.into_iter().for_each(|counter| one("counter", counter));
    gauges.into_iter().for_each(|gauge| one("gauge", gauge));
    latency(&mut page, histogram);
    page
}

fn latency(page: &mut String, (buckets, sum): &(Vec<(f64, u64)>, f64)) {
    let name = "dcfs_request_seconds";
    let _ = writeln!(
        page,
        "# HELP {name} Seconds until a request was answered.\n# TYPE {name} histogram"
    );
    for (end, count) in buckets {
        let _ = writeln!(page, "{name}_bucket{{le=\"{end}\"}} {count}");
    }
    let all = buckets.last().map_or(0, |(_, count)| *count);
    let _ =
        writeln!(page, "{name}_bucket{{le=\"+Inf\"}} {all}\n{name}_sum {sum}\n{name}_count {all}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_prometheus_wants_it() {
        let now = Snapshot { requests: 3, ..Snapshot::default() };
        let page = page(&now, &(vec![(0.001, 2), (0.002, 3)], 0.004));
        for line in [
            "# TYPE dcfs_requests_total counter",
            "dcfs_requests_total 3",
            "dcfs_request_seconds_bucket{le=\"0.001\"} 2",
            "dcfs_request_seconds_bucket{le=\"+Inf\"} 3",
            "dcfs_request_seconds_sum 0.004",
            "dcfs_request_seconds_count 3",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}: {page}");
        }
    }
}
