"""Trained runs as one HTML page that runs the model in the browser, without a server or the network."""

from unrolled.exports.page.export import PageAgreement, export_page

__all__ = ["PageAgreement", "export_page"]
