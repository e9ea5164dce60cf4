-- What an extension's objects are, a line a property: two databases can be compared. Role names are
-- part of it, OIDs are not. Sorted, so that the order of creation does not matter.
WITH member AS (
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'embed'
	-- newer servers count row types and arrays of tables and views as members
	AND NOT (d.classid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class r ON r.oid = t.typrelid
		WHERE t.oid = d.objid AND (t.typelem <> 0 OR r.relkind <> 'c')))
), part AS (
	SELECT * FROM member
	UNION
	SELECT d.classid, d.objid FROM pg_depend d JOIN member m ON m.classid = d.refclassid AND m.objid = d.refobjid
	WHERE d.deptype IN ('a', 'i') AND d.classid IN ('pg_rewrite'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_attrdef'::regclass)
), named AS (
	SELECT p.*, i.type || ' ' || i.identity AS id FROM part p, pg_identify_object(p.classid, p.objid, 0) i
), lines (line) AS (
	SELECT id || ': owner ' || coalesce((
		SELECT pg_get_userbyid(o) FROM (
			SELECT proowner FROM pg_proc WHERE classid = 'pg_proc'::regclass AND oid = objid UNION ALL
			SELECT relowner FROM pg_class WHERE classid = 'pg_class'::regclass AND oid = objid UNION ALL
			SELECT nspowner FROM pg_namespace WHERE classid = 'pg_namespace'::regclass AND oid = objid UNION ALL
			SELECT typowner FROM pg_type WHERE classid = 'pg_type'::regclass AND oid = objid UNION ALL
			SELECT oprowner FROM pg_operator WHERE classid = 'pg_operator'::regclass AND oid = objid UNION ALL
			SELECT evtowner FROM pg_event_trigger WHERE classid = 'pg_event_trigger'::regclass AND oid = objid) x (o)), 'none')
		|| ', comment ' || coalesce(obj_description(objid, classid::regclass::name), 'none') FROM named
	UNION ALL
	SELECT id || ': needs ' || i.type || ' ' || i.identity || ' ' || d.deptype::text || CASE WHEN d.objsubid > 0 THEN ' of column ' || d.objsubid ELSE '' END
	FROM named n JOIN pg_depend d ON d.classid = n.classid AND d.objid = n.objid, pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) i
	UNION ALL
	SELECT n.id || ': acl ' || coalesce((SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(acl) a), 'none')
	FROM named n JOIN (
		SELECT 'pg_proc'::regclass, oid, proacl FROM pg_proc UNION ALL
		SELECT 'pg_class'::regclass, oid, relacl FROM pg_class UNION ALL
		SELECT 'pg_namespace'::regclass, oid, nspacl FROM pg_namespace UNION ALL
		SELECT 'pg_type'::regclass, oid, typacl FROM pg_type) x (classid, oid, acl) ON x.classid = n.classid AND x.oid = n.objid
	UNION ALL
	SELECT n.id || ': initial acl ' || p.objsubid || ' ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(p.initprivs) a)
	FROM named n JOIN pg_init_privs p ON p.classoid = n.classid AND p.objoid = n.objid
	UNION ALL
	SELECT id || format(': language %s cost %s rows %s variadic %s support %s kind %s definer %s leakproof %s strict %s set %s volatile %s parallel %s arguments (%s) result %s source %s in %s config %s',
		l.lanname, procost, prorows, provariadic::regtype, prosupport, prokind, prosecdef, proleakproof, proisstrict, proretset, provolatile, proparallel,
		pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), prosrc, probin, proconfig)
	FROM named JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid JOIN pg_language l ON l.oid = p.prolang
	UNION ALL
	SELECT id || format(': aggregate %s %s %s final %s %s %s combine %s moving %s %s %s state %s %s %s %s initial %s sort %s',
		aggkind, aggnumdirectargs, aggtransfn, aggfinalfn, aggfinalextra, aggfinalmodify, aggcombinefn, aggmtransfn, aggminvtransfn, aggmfinalfn,
		aggtranstype::regtype, aggtransspace, aggserialfn, aggdeserialfn, agginitval, aggsortop)
	FROM named JOIN pg_aggregate ON classid = 'pg_proc'::regclass AND aggfnoid = objid
	UNION ALL
	SELECT id || format(': kind %s options %s persistence %s identity %s security %s %s view %s', relkind, reloptions, relpersistence, relreplident,
		relrowsecurity, relforcerowsecurity, CASE WHEN relkind = 'v' THEN pg_get_viewdef(r.oid) END)
	FROM named JOIN pg_class r ON classid = 'pg_class'::regclass AND r.oid = objid
	UNION ALL
	SELECT id || format(': column %s %s type %s collation %s not null %s storage %s acl %s default %s identity %s comment %s', attnum, attname,
		format_type(atttypid, atttypmod), attcollation::regcollation, attnotnull, attstorage, attacl, pg_get_expr(adbin, adrelid), attidentity, col_description(attrelid, attnum))
	FROM named JOIN pg_class r ON classid = 'pg_class'::regclass AND r.oid = objid JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0
	LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
	UNION ALL
	SELECT id || ': index ' || pg_get_indexdef(indexrelid) FROM named JOIN pg_index ON classid = 'pg_class'::regclass AND indrelid = objid
	UNION ALL
	SELECT id || ': ' || pg_get_constraintdef(c.oid) || ' valid ' || convalidated::text FROM named JOIN pg_constraint c ON classid = 'pg_constraint'::regclass AND c.oid = objid
	UNION ALL
	SELECT id || ': ' || pg_get_triggerdef(t.oid) || ' enabled ' || tgenabled::text FROM named JOIN pg_trigger t ON classid = 'pg_trigger'::regclass AND t.oid = objid
	UNION ALL
	SELECT id || format(': on %s when %s runs %s enabled %s', evtevent, evttags, evtfoid::regproc, evtenabled)
	FROM named JOIN pg_event_trigger v ON classid = 'pg_event_trigger'::regclass AND v.oid = objid
	UNION ALL
	SELECT id || format(': operator %s hashes %s merges %s commutes %s negates %s rest %s join %s', oprcode, oprcanhash, oprcanmerge, oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin)
	FROM named JOIN pg_operator o ON classid = 'pg_operator'::regclass AND o.oid = objid
	UNION ALL
	SELECT id || format(': type %s length %s by value %s align %s storage %s category %s %s in %s out %s receive %s send %s element %s default %s', typtype, typlen, typbyval,
		typalign, typstorage, typcategory, typispreferred, typinput, typoutput, typreceive, typsend, typelem::regtype, typdefault)
	FROM named JOIN pg_type t ON classid = 'pg_type'::regclass AND t.oid = objid
	UNION ALL
	SELECT id || format(': cast context %s method %s', castcontext, castmethod) FROM named JOIN pg_cast c ON classid = 'pg_cast'::regclass AND c.oid = objid
	UNION ALL
	SELECT format('extension: version %s owner %s schema %s relocatable %s comment %s', extversion, pg_get_userbyid(extowner), extnamespace::regnamespace, extrelocatable,
		obj_description(oid, 'pg_extension'))
	FROM pg_extension WHERE extname = 'embed'
	UNION ALL
	SELECT format('extension: dumps rows of %s where "%s"', t::regclass, c) FROM pg_extension, unnest(extconfig, extcondition) x (t, c) WHERE extname = 'embed'
)
SELECT line FROM lines ORDER BY line COLLATE "C"
