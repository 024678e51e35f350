-- Where in a trace a task was asked for, as W3C Trace Context says. Written with the body and never
-- changed; NULL unless tracing is on. Who writes bodies without knowing these columns goes on to.
ALTER TABLE {schema}.task ADD COLUMN traceparent text, ADD COLUMN tracestate text;
