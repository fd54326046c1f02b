"""Numbers as text: sizes, times, medians with their spread."""
import re
import statistics

PAYLOAD_SHARE = 1448 / 1514  # of an Ethernet frame of TCP with timestamps, MTU 1500


def size_of(text):
    """Bytes: "1kB", "8M", "4g" (k, m, g and t are powers of 1024, kB, MB and GB of 1000)."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+) *(|B|kB|MB|GB|[KMGTkmgt])", text)
    if not match:
        raise ValueError(f"not a size: '{text}'")
    units = {"": 1, "B": 1, "kB": 1000, "MB": 10**6, "GB": 10**9}
    units.update({unit: 1 << 10 * (n % 4 + 1) for n, unit in enumerate("KMGTkmgt")})
    return int(float(match[1]) * units[match[2]])


def seconds_of(text):
    match = re.fullmatch(r"([0-9]*\.?[0-9]+) *(|s|ms|m)", text)
    if not match:
        raise ValueError(f"not a time: '{text}'")
    return float(match[1]) * {"": 1, "s": 1, "ms": 1e-3, "m": 60}[match[2]]


def size_text(size):
    for n, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (10**6, "MB"), (1000, "kB")):
        if size >= n and size % n == 0:
            return f"{size // n} {unit}"
    return f"{size} B"


def spread(values, digits=1, factor=1.0):
    """Median (least–most); the median alone where there is one; "–" where there is none."""
    values = [v * factor for v in values if v is not None]
    if not values:
        return "–"
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def middle(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None
