"""An audit on the screen."""

from rich.table import Table

from attacks.audit.result import AuditResult


def audit_table(result: AuditResult) -> Table:
    """The two bounds beside each other, how the lower one was found, and the verdict."""
    table = Table(
        title=f"audit of {result.audited}: {result.canaries} canaries, {result.included} in; "
        f"{result.steps.taken:g} steps taken, {result.steps.charged} charged; "
        f"δ = {result.delta:g} per {result.unit}, {result.relation}",
        caption="FAILED: " + "; ".join(result.problems) if result.problems else "nothing contradicts the ledger",
    )
    table.add_column("bound")
    table.add_column("ε", justify="right")
    table.add_column("meaning")
    table.add_row("ledger", f"≤ {result.epsilon_upper:.3f}", f"upper bound, {result.accountant}")
    for bound in result.bounds:
        if bound.may_fail:
            table.add_row(bound.method, f"≥ {bound.epsilon:.3f}", f"lower bound, α = {bound.alpha:.1g}")
        else:
            table.add_row(bound.method, f"≈ {bound.epsilon:.3f}", "descriptive, no bound")
    found = result.separation
    table.add_row(
        "AUC", f"{found.auc:.3f}", f"95 % [{found.low:.3f}, {found.high:.3f}]; where nothing is: {found.null:.3f}"
    )
    return table
