"""Plotly figures from plain values. Text, grid and background take the page's colours from static/dashboard.css."""
