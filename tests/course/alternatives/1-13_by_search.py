"""For each span, the innermost other one around it, found by search."""


def exclusive_times(spans):
    own = {}
    spans = list(spans)
    for span in spans:
        own[span.name] = own.get(span.name, 0.0) + (span.end - span.start)
    for i, span in enumerate(spans):
        around = [
            (other.end - other.start, j, other.name) for j, other in enumerate(spans)
            if j != i and other.start <= span.start and span.end <= other.end
            and other.end > span.start
            and (other.end - other.start > span.end - span.start)
        ]
        if around:
            own[min(around)[2]] -= span.end - span.start
    return own
