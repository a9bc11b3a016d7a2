"""The maps, as Plotly figures."""
