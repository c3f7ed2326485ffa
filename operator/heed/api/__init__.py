"""The custom resources as typed models; their CRDs are generated from here."""
