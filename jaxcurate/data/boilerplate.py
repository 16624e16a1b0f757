"""Furniture of web pages: cookie banners, menus, sharing rows, footers.

Written by us, after the kinds of lines that crawled pages are full of; each
line is a template whose blanks are filled at random.
"""

import re

import numpy as np

_TEMPLATES = {
  'cookies': (
    'We use cookies to {improve} your experience. By {continuing} you {agree} '
    'to our {policy}.',
    'This {site} uses cookies and similar technologies to {improve} our '
    'services and to show you relevant ads. {accept}',
    'We and our {number} partners store and access information on your '
    'device. {accept} {manage}',
    '{accept} | {manage} | {policy}',
    'Your privacy matters to us. You can change your {policy} settings at any '
    'time. {manage}',
    'Please enable JavaScript and cookies in your browser to {continue_use}.',
    'Strictly necessary cookies are always active. {manage}',
  ),
  'menu': (
    '{item} | {item} | {item} | {item} | {item}',
    '{item} > {item} > {item}',
    '{item} {item} {item} {item} {item} {item}',
    '* {item}\n* {item}\n* {item}\n* {item}',
    'Skip to main content',
    'Toggle navigation Menu {item} {item} {item}',
    'You are here: Home / {item} / {item}',
    'Log in | Sign up | My account | Cart ({digit})',
    '« Previous 1 2 3 4 5 … {number} Next »',
    'Search for: Search {item} {item}',
    'Back to top',
  ),
  'sharing': (
    'Share this: {network} {network} {network} {network} Email Print',
    'Share on {network} Share on {network} Tweet Pin it',
    'Follow us on {network}, {network} and {network}!',
    'Like {number} Share {number} Comment {digit}',
    '{number} shares | {number} views | {digit} comments',
    'Click to share on {network} (Opens in new window)',
    'Join the conversation on {network} · Copy link · Report',
  ),
  'newsletter': (
    'Subscribe to our newsletter and never miss {offer}! Enter your email '
    'address {button}',
    'Sign up for {offer} delivered straight to your inbox. {button}',
    'Get {percent}% off your first order when you join our mailing list. '
    '{button}',
    'By submitting this form you {agree} to our {policy}. You may unsubscribe '
    'at any time.',
    'Already a subscriber? Log in. Not a member? {button}',
  ),
  'shop': (
    'Add to cart | Add to wishlist | Compare | {price}',
    '{button} Limited time only: {percent}% off {offer}. Free shipping on '
    'orders over {price}.',
    'Customers who viewed this item also viewed {price} {price} {price}',
    'In stock. Ships within {digit} days. {price} (incl. VAT) {button}',
    'Rated {digit}.0 out of 5 based on {number} reviews',
    'Advertisement - continue reading below',
    'Sponsored content you may like: {offer}',
  ),
  'footer': (
    'Copyright © {year} {company}. All rights reserved.',
    '© {year} {company} | {policy} | Terms of Service | Contact | Sitemap',
    'Powered by {engine} | Theme by {company}',
    'Posted by admin on {month} {day}, {year} in {item} | {digit} Comments | '
    'Permalink',
    'Leave a reply. Your email address will not be published. Required fields '
    'are marked *',
    'Name * Email * Website Save my name in this browser for the next time I '
    'comment. {button}',
    'Tags: {item}, {item}, {item} | Categories: {item}',
    'Related posts: {item} · {item} · {item}',
    'Last updated: {month} {day}, {year}. Report a problem with this page.',
    'Loading... Please wait. If the page does not load, click here.',
    'About us Careers Press Help Privacy Terms {company} {year}',
    'Read more » Continue reading → View all {item}',
  ),
}

_BLANKS = {
  'improve': 'improve|personalise|enhance|optimise|analyse',
  'continuing': 'continuing to browse|using this site|clicking Accept|closing '
  'this banner',
  'continue_use': 'view this page|continue|use all features|watch this video',
  'agree': 'agree|consent|say yes|are bound',
  'policy': 'Privacy Policy|Cookie Policy|Terms of Use|privacy notice|cookie '
  'preferences',
  'site': 'site|website|page|store|shop|app',
  'accept': 'Accept all|Accept|I agree|Got it!|Allow all cookies|OK',
  'manage': 'Manage preferences|Reject all|More information|Learn more|Cookie '
  'settings|Customise',
  'item': 'Home|About|Contact|Blog|News|Shop|Products|Services|FAQ|Support|'
  'Downloads|Login|Register|Gallery|Events|Forum|Archive|Careers|Resources|'
  'Pricing|Portfolio|Team|Videos|Sport|Weather|Travel|Lifestyle|Health|'
  'Business|Technology|Reviews|Recipes|Fashion|Local|Opinion|Jobs|Sitemap|'
  'Uncategorized|Featured|Popular',
  'network': 'Facebook|Twitter|LinkedIn|Pinterest|Reddit|WhatsApp|Instagram|'
  'Tumblr|YouTube|Telegram|Pocket|Google+',
  'offer': 'the latest news|exclusive offers|our best deals|new arrivals|'
  'weekly tips|great articles|special promotions|these amazing gadgets',
  'button': 'Subscribe|Sign up now|Submit|Buy now|Order today|Shop now|Join '
  'free|Get started|Click here|Post comment|Download now',
  'company': 'Acme Media|Example Inc.|Best Deals Ltd|The Daily Page|WebSite '
  'Group|MyCompany GmbH|Northern News|Your Store Name',
  'engine': 'WordPress|Blogger|Joomla|Drupal|phpBB|Shopify|Wix',
  'month': 'January|March|April|June|August|October|December|Sep|Nov',
}
_RANGES = {
  'number': (6, 9999),
  'digit': (0, 10),
  'percent': (5, 90),
  'day': (1, 31),
  'year': (1999, 2026),
}
_ALL_TEMPLATES = tuple(t for group in _TEMPLATES.values() for t in group)


def line(rng: np.random.Generator) -> str:
  """One line of page furniture with its blanks filled in."""
  template = _ALL_TEMPLATES[rng.integers(len(_ALL_TEMPLATES))]
  return re.sub(r'\{(\w+)\}', lambda blank: _fill(blank[1], rng), template)


def _fill(name: str, rng: np.random.Generator) -> str:
  if name == 'price':
    sign = ('$', '£', '€')[rng.integers(3)]
    return (
      f'{sign}{rng.integers(1, 300)}.{rng.choice(["00", "49", "95", "99"])}'
    )
  if name in _RANGES:
    return str(rng.integers(*_RANGES[name]))
  choices = _BLANKS[name].split('|')
  return choices[rng.integers(len(choices))]
