"""Every installed metric by name, as plug-ins are found."""

from evalkit import plugins

METRICS = {name: plugins.metric(name) for name in plugins.names("metric")}
