"""Reports: pages that open offline, and figures for papers."""

from evaluations.report.audit_page import write_audit_page
from evaluations.report.elements import Document, Section
from evaluations.report.rendering import render_document
from evaluations.report.writing import write_page, write_report

__all__ = ["Document", "Section", "render_document", "write_audit_page", "write_page", "write_report"]
