'use strict';
'require view';
'require form';
'require fs';
'require poll';
'require dom';

/* How the swarming agent is, asked of itself, and its settings in /etc/config/swarming.
   What it tells came from a broker in part: it is put on the page as text, never as HTML. */

const EVERY_S = 10;

function ask() {
	return fs.exec('/usr/bin/swarming-agent', [ 'status', '--json' ]).then(function(done) {
		if (done.code !== 0)
			return { problem: (done.stderr || '').replace(/^swarming-agent: /, '').trim() };
		return JSON.parse(done.stdout);
	}).catch(function(error) {
		return { problem: String(error.message || error) };
	});
}

function joined(...parts) {
	return parts.filter(part => part != null && part !== '' && part !== false).join(', ');
}

function link(told) {
	if (!told)
		return _('unknown');
	return joined(told.type, told.iface, told.operator, told.stated && _('stated in the settings'));
}

function journal(told) {
	return joined(
		_('%d results not yet confirmed').format(told.waiting || 0),
		told.evicted ? _('%d lost, for want of room').format(told.evicted) : null,
		told.memory ? _('in memory: %s').format(told.memory) : null
	);
}

function icmp(method, advice) {
	if (method === 'dgram' || method === 'raw')
		return _('by %s sockets').format(method);
	return joined(method ? _("by the system's ping") : _('not possible here'), advice);
}

function rows(facts) {
	const about = facts.about || {};
	const listed = about.list || {};
	const certificate = about.certificate || {};
	return [
		[ _('Agent'), joined(about.agent, about.version, about.paused && _('paused')) ],
		[ _('Broker'), facts.broker || _('none reached') ],
		[ _('Indexer'), facts.indexer || _('none online') ],
		[ _('Journal'), journal(about.journal || {}) ],
		[ _('Link'), link(about.link) ],
		[ _('Clock'), (about.clock || {}).trust || _('unknown') ],
		[ _('Echoes'), icmp(about.icmp, facts.icmp_advice) ],
		[ _('Targets'), (listed.targets || []).join(' ') || _('none yet') ],
		[ _('Certificate'), certificate.ends ? _('until %s').format(certificate.ends) : null ],
		[ _('Last result'), facts.last || _('none yet') ]
	].filter(row => row[1]);
}

function refused(listed) {
	if (!listed.length)
		return E([]);
	const lines = listed.map(one => E('tr', { 'class': 'tr' }, [
		E('td', { 'class': 'td left' }, [ one.target ]),
		E('td', { 'class': 'td left' }, [ one.reason ])
	]));
	return E('div', { 'class': 'cbi-section' }, [
		E('h3', {}, [ _('Targets refused by this box') ]),
		E('table', { 'class': 'table', 'id': 'swarming-refused' }, lines)
	]);
}

function status(facts) {
	if (facts.problem)
		return E('div', { 'class': 'alert-message warning', 'id': 'swarming-problem' }, [
			E('p', {}, [ _('The agent does not answer: %s').format(facts.problem) ]),
			E('p', {}, [ _('A new box joins by "swarming-agent join …" in a terminal, or by a broker below.') ])
		]);
	const lines = rows(facts).map(row => E('tr', { 'class': 'tr' }, [
		E('td', { 'class': 'td left', 'width': '25%' }, [ row[0] ]),
		E('td', { 'class': 'td left' }, [ row[1] ])
	]));
	return E([], [
		E('div', { 'class': 'cbi-section' }, [
			E('h3', {}, [ _('Status') ]),
			E('table', { 'class': 'table', 'id': 'swarming-status' }, lines)
		]),
		refused((facts.about || {}).refused || [])
	]);
}

function settings() {
	const map = new form.Map('swarming', _('Swarming'),
		_("It's just me, or this service is slow? This box pings what its swarm watches, and keeps every result until an indexer has it."));
	const section = map.section(form.NamedSection, 'main', 'agent', _('Settings'));
	section.tab('general', _('General'));
	section.tab('probes', _('Probes'));
	section.tab('journal', _('Journal'));
	section.tab('expert', _('Expert'));

	const add = function(tab, kind, name, title, text) {
		const option = section.taboption(tab, kind, name, title, text);
		option.rmempty = true;
		option.optional = true;
		return option;
	};
	let o;

	o = add('general', form.Flag, 'enabled', _('Enabled'));
	o.default = '1';
	o.rmempty = false;
	o = add('general', form.DynamicList, 'broker', _('Brokers'),
		_('Only for a box that has not joined by an invitation: mqtts://host:8883'));
	o = add('general', form.Value, 'name', _('Name'), _("A certificate's name goes before it."));
	o.datatype = 'maxlength(64)';
	o = add('general', form.Value, 'place', _('Place'), _('Where this box stands, as others will see it.'));
	o.datatype = 'maxlength(64)';
	o = add('general', form.Value, 'isp', _('Provider'), _('Whose line it is on, as others will see it.'));
	o.datatype = 'maxlength(64)';
	o = add('general', form.ListValue, 'link', _('Link'), _('Only where the guess is wrong.'));
	o.value('', _('guessed'));
	for (const type of [ 'ethernet', 'wifi', 'gsm', 'edge', 'umts', 'hspa', 'lte', '5g', 'adsl', 'vdsl', 'cable', 'fiber', 'satellite' ])
		o.value(type);

	o = add('probes', form.DynamicList, 'targets', _('Targets'), _('What to probe until the swarm has a list.'));
	o = add('probes', form.DynamicList, 'allow_private', _('Private ranges that may be probed'));
	o.datatype = 'cidr';
	o = add('probes', form.DynamicList, 'deny', _('Ranges that may never be probed'));
	o.datatype = 'cidr';
	o = add('probes', form.Value, 'budget', _('Bytes a month'), _('500MB on mobile links, else none.'));
	o.placeholder = '500MB';

	o = add('journal', form.Value, 'journal', _('Where it is'),
		_('On flash it has a tenth of the free space, 8 MB at most. In memory it ends with the power. Or a folder on a disk: /mnt/usb/swarming'));
	o.value('flash', _('flash'));
	o.value('tmpfs', _('memory'));
	o.default = 'flash';
	o = add('journal', form.Value, 'flush', _('Seconds in memory before flash is written'));
	o.datatype = 'range(0,3600)';
	o.default = '60';
	o = add('journal', form.Value, 'max_bytes', _('At most so large'));
	o.placeholder = '8MB';

	o = add('expert', form.ListValue, 'pages', _('Web pages that may be asked for the line'));
	o.value('', _("a modem's"));
	o.value('router', _("a router's, too"));
	o.value('none', _('none'));
	o = add('expert', form.DynamicList, 'at', _('Serial ports of modems that may be asked'));
	o.placeholder = '/dev/ttyUSB2';
	o = add('expert', form.ListValue, 'mqtt', _('MQTT version'));
	o.value('', _('newest'));
	for (const version of [ '5', '3.1.1', '3.1' ])
		o.value(version);
	o = add('expert', form.ListValue, 'log_level', _('Log'));
	o.value('', 'info');
	for (const level of [ 'debug', 'warning', 'error' ])
		o.value(level);
	return map;
}

return view.extend({
	load: function() {
		return ask();
	},

	render: function(facts) {
		const box = E('div', {}, [ status(facts) ]);
		poll.add(function() {
			return ask().then(now => dom.content(box, status(now)));
		}, EVERY_S);
		return settings().render().then(page => E([], [ box, page ]));
	}
});
