"""Kibana's and OpenSearch Dashboards' saved objects, made from one description of the dashboards.

`parts` and `usual` are what a description is made of, the `about_…` describe, `charts` and
`objects` make saved objects of it, `install` sends them, `command` is the command line.
"""
